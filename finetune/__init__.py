"""Examples become a data set, a data set becomes an adapter, an adapter becomes deployable."""
