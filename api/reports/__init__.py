"""Reports: what a run or a shift was, gathered into one document, and drawn as HTML and PDF."""
