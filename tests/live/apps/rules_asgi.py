"""Its lifespan startup runs synchronous code that does not end while the test looks."""
import time

from echo_asgi import app as answer


def load_fraud_rules():
    for _ in range(600):
        time.sleep(1)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print("loading the rules", flush=True)
        load_fraud_rules()
        await send({"type": "lifespan.startup.complete"})
        return
    await answer(scope, receive, send)
