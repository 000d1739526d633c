"""One noun a module. Routes translate between HTTP and the parts; they decide nothing."""
