"""The mechanism that all routes share: parameters, bodies, pages, answers, and their description."""
