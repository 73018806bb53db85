# What a process knows of its own tasks, without any help of the reader's: names, states, and chains by cr_await and its kin.
# A task that is executed has no chain; its part of its thread's stack stands for it.
import asyncio
import gc
import inspect
import sys

WRAPPERS = ("coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable")
WITH_FRAMES = ("coroutine", "generator", "async_generator")
COMPILED = ("iterable_coroutine",)
AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


def place(frame):
    code = frame.f_code
    return [getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno]


def definition(coroutine):
    """Of a coroutine that Cython has compiled: it knows no more, and the older ones not even that."""
    code = coroutine.cr_code
    where = [code.co_filename, code.co_firstlineno] if code else ["uvloop.loop", 0]
    return [coroutine.__qualname__] + where


def chain_of(coroutine):
    """The frames of a suspended coroutine, outermost first, as far as Python code is told of them."""
    frames = []
    while coroutine is not None:
        if type(coroutine).__name__ == "_GeneratorWrapper":
            coroutine = coroutine._GeneratorWrapper__wrapped
            continue
        if type(coroutine).__name__ in WRAPPERS:
            # They tell nobody what they stand for, but the collector of garbage.
            inner = [o for o in gc.get_referents(coroutine) if type(o).__name__ in WRAPPERS + WITH_FRAMES + COMPILED]
            coroutine = inner[0] if inner else None
            continue
        kind = next((k for k in ("cr", "gi", "ag") if hasattr(coroutine, k + "_frame")), None)
        if type(coroutine).__name__ in COMPILED:
            frames.append(definition(coroutine))
        elif kind and getattr(coroutine, kind + "_frame"):
            frames.append(place(getattr(coroutine, kind + "_frame")))
        else:
            break
        coroutine = next((getattr(coroutine, a) for a in AWAITED if hasattr(coroutine, a)), None)
    return frames


def is_running(coroutine):
    return getattr(coroutine, "cr_running", False) or getattr(coroutine, "gi_running", False)


def running_frames(coroutine, roots):
    """The frames of a coroutine that some thread executes, down to where that thread executes the root of another task."""
    for frame in sys._current_frames().values():
        stack = []
        while frame is not None:
            stack.append(frame)
            frame = frame.f_back
        stack.reverse()
        if coroutine.cr_frame not in stack:
            continue
        inner = stack[stack.index(coroutine.cr_frame) :]
        until = next((at for at, f in enumerate(inner) if at and f in roots), len(inner))
        return [place(f) for f in inner[:until]]
    return []


def state_of(task):
    if is_running(task.get_coro()):
        return "running"
    waiter = task._fut_waiter
    if waiter is not None:
        return "runnable" if waiter.done() else "waiting"
    is_created = inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_CREATED
    return "not-started" if is_created else "runnable"


def tasks_of(loops, strays):
    """Of all tasks that are not done; strays are those that all_tasks may not tell of."""
    found = [(loop, task) for loop in loops for task in asyncio.all_tasks(loop) if not task.done()]
    # From 3.14 on it knows those that are written in C.
    known = [task for _, task in found]
    found += [(task.get_loop(), task) for task in strays if task not in known]
    roots = [task.get_coro().cr_frame for _, task in found if is_running(task.get_coro())]
    tasks = []
    for loop, task in found:
        coroutine, state = task.get_coro(), state_of(task)
        frames = running_frames(coroutine, roots) if state == "running" else chain_of(coroutine)
        told = {"id": id(task), "name": task.get_name(), "loop": id(loop), "state": state, "frames": frames}
        tasks.append(told)
    return tasks
