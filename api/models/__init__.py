"""The shapes of answers, with examples, for the OpenAPI description."""
