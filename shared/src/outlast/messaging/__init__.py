"""Messages in and out. `ports` says what the loops need; `kafka` and `local` give it, and pass one suite."""
