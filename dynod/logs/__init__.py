"""The log stream: from a dyno's pipe to whoever reads."""
