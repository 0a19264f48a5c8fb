"""The built-in buildpacks: programs that make one language's app ready to run, called as Heroku's classic API has it.

Stop of the flow: between an app's source and its slug. The build runner starts each of them as a program of its own,
`python -m dynod.builds.packs NAME detect|compile|release …`, as the app's user and perhaps in a container: so nothing
here imports more of dynod than `errors` and its own `core`, nor anything but the standard library.
What is decided is in `core/`; what runs the languages' own tools is in the module of each pack.
"""
