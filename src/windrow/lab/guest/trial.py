import threading
from windrow.lab.guest.server import Server
from windrow.lab.guest.run import run, Place
def main(fd, config):
    print("modules missing", config["missing_modules"], flush=True)
    Server(fd, {"exec": lambda r: run(r, Place(name="lab"))}).run({"up": open("/proc/uptime").read().split()[0]})
