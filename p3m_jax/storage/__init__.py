"""Files on disk and in buckets: atomic writes, addresses, files within files."""
