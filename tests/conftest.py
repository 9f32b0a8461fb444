from hypothesis import settings

# No deadline: how long an example takes is the machine's affair, and a busy one is no failure.
# A failing example prints what replays it on another machine.
settings.register_profile("callsheet", deadline=None, print_blob=True)
settings.load_profile("callsheet")
