"""The command line: one module per verb group, imported when its verb is asked for."""
