"""The page: a web server that shows what a broker has, and acts on it, for browsers and for programs."""
