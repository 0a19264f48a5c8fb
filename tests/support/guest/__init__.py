"""What runs inside of a guest of `support.kernel_guest`: its first process, and the probes."""
