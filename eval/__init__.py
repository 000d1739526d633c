"""Questions and arms become scores, scores become statistics, statistics become a report."""
