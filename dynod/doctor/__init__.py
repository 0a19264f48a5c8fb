"""`dynod doctor`: an app examined for the twelve factors, in a scratch formation by the supervisor of `dynod up`."""
