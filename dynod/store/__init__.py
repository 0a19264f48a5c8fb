"""What dynod keeps: SQLite, one file, queries by aggregate. Imports `core` and `errors`; `store` is the way in."""
