"""What gunicorn reads by itself when it starts in this folder.

It binds `0.0.0.0:$PORT` without being told: `PORT` in the environment is its own default.
"""

# Threads, so that one slow answer does not hold up this dyno's others.
worker_class = "gthread"
threads = 4

# gunicorn 25 and newer open a control socket at one place for each user; the dynos of one machine would fight over it.
control_socket_disable = True
