# A target that never holds still: three threads that call and return as fast as they can, at changing depths.
# The name of every function tells its thread and depth, so that a stack which never was can be told.
import sys
import threading

source = """
def {n}_3():
    return [x for x in range(3)]

def {n}_2():
    {n}_3()
    return {n}_3()

def {n}_1():
    {n}_2()
    return {n}_3()

def {n}_loop():
    while True:
        {n}_1()
        {n}_2()
        {n}_3()
"""
for name in "abc":
    exec(source.format(n=name))

for name in "bc":
    thread = threading.Thread(target=globals()[name + "_loop"], name=name)
    thread.daemon = True
    thread.start()
print("ready")
sys.stdout.flush()
a_loop()  # noqa: F821
