"""A worker of celery with a broker in memory: it serves jobs, and no socket."""
from celery import Celery

app = Celery("jobs", broker="memory://")


@app.task
def add(x, y):
    return x + y
