"""A WSGI server of the standard library with helpers of multiprocessing beside it. usage: PORT"""
import multiprocessing
import sys
from wsgiref.simple_server import make_server


def double(number):
    return 2 * number


def main():
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(2) as pool:
        shared = manager.dict(total=sum(pool.map(double, range(10))))

        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"%d\n" % shared["total"]]

        print("helpers run", flush=True)
        make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()


if __name__ == "__main__":
    main()
