"""Telemetry as files: from COPY over columns to Arrow, Parquet and CSV, with what a reader has to know about them."""
