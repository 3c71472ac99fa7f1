"""Where the time goes: a worker under a load of the bench, sampled from outside by py-spy, by room and by function."""
