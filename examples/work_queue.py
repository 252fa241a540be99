"""Work queue: tasks go to whichever worker is free, and a task whose worker dies goes to another one.

python examples/work_queue.py [amqp://guest:guest@localhost:5672]
"""

import queue
import sys
import threading

import pika

TASKS = "example.work"


class Worker(threading.Thread):
    """A worker, here a thread with a connection of its own; in earnest a process on any machine."""

    def __init__(self, url: str, name: str, done: queue.Queue) -> None:
        super().__init__(name=name)
        self.done = done
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=1)  # the next task only when this one is done
        self.channel.basic_consume(TASKS, self.on_task)

    def run(self) -> None:
        self.channel.start_consuming()
        self.connection.close()

    def on_task(self, channel, method, properties, body) -> None:
        channel.basic_ack(method.delivery_tag)  # from now on the broker forgets the task
        self.done.put(f"done: {body.decode()}")

    def stop(self) -> None:
        self.connection.add_callback_threadsafe(self.channel.stop_consuming)


def die_with_a_task(url: str) -> None:
    """A worker that takes a task and is gone before it acknowledges it."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    _, _, body = connection.channel().basic_get(TASKS)
    print("a worker died with:", body.decode())
    connection.close()


def main(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(TASKS, durable=True)  # the queue survives a restart of the broker ...
    persistent = pika.BasicProperties(delivery_mode=2)  # ... and so do the messages in it
    channel.confirm_delivery()  # basic_publish returns when the task is on disk
    for number in range(6):
        channel.basic_publish("", TASKS, f"resize picture {number}".encode(), persistent)

    die_with_a_task(url)
    done: queue.Queue = queue.Queue()
    workers = [Worker(url, name, done) for name in ("first", "second")]
    for worker in workers:
        worker.start()
    for _ in range(6):
        print(done.get(timeout=10))
    for worker in workers:
        worker.stop()
        worker.join()

    channel.queue_delete(TASKS)
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amqp://localhost")
