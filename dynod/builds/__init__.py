"""From source to slug: archives kept by their content, and unpacked with every check. Imports `core` and `errors`."""
