"""Listens, and starts servers on that socket, as a service manager does: socket_parent.py MODE COMMAND...

descriptor, inherited, systemd: prints what one server says. https: what it says over TLS, on the socket of that name,
and in plain. restarts: replaces the server RESTARTS times while clients
ask without a pause, each request on a connection of its own; prints how many failed.
"""
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 100
mode, command = sys.argv[1], sys.argv[2:]

listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
port = listener.getsockname()[1]
other = socket.create_server(("127.0.0.1", 0))


def get(path):
    return fetch(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE), path)


def get_https(path):
    """From the other socket; of the certificate the names are tested elsewhere."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    other_port = other.getsockname()[1]
    return fetch(http.client.HTTPSConnection("127.0.0.1", other_port, timeout=PATIENCE, context=context), path)


def fetch(connection, path):
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def watch(server):
    """A server that ends by itself ends us, who would wait for it."""
    def wait():
        if server.wait() not in (0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
            print("the server ended with", server.returncode, file=sys.stderr)
            os._exit(1)
    threading.Thread(target=wait, daemon=True).start()
    return server


def start(manager):
    """One JVM; its pid must be in LISTEN_PID, so a shell sets that and becomes it."""
    descriptors = {7: listener} if mode == "descriptor" else {3: other, 4: listener}

    def arrange():
        copies = {to: os.dup(s.fileno()) for to, s in descriptors.items()}
        high = {to: os.dup2(copy, 100 + to) for to, copy in copies.items()}
        for to, copy in high.items():
            os.dup2(copy, to)
            os.set_inheritable(to, True)

    if mode == "inherited":
        return watch(subprocess.Popen(command, stdin=listener.fileno(), stdout=subprocess.DEVNULL))
    environment = dict(os.environ)
    if mode != "descriptor":
        environment.update(LISTEN_FDS="2", LISTEN_FDNAMES="https:http" if mode == "https" else "metrics:http", NOTIFY_SOCKET=manager.getsockname())
        shell = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]
    else:
        shell = []
    return watch(subprocess.Popen(shell + command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  env=environment, close_fds=False, preexec_fn=arrange))


def wait_ready(manager):
    manager.settimeout(PATIENCE)
    return manager.recv(100).decode()


def restarts(manager):
    done, failed, served = threading.Event(), [], [0]

    def client():
        while not done.is_set():
            try:
                assert get("/x") == "hello /x"
                served[0] += 1
            except Exception as e:
                failed.append(repr(e))

    server = start(manager)
    wait_ready(manager)
    clients = [threading.Thread(target=client) for _ in range(4)]
    for each in clients:
        each.start()
    for _ in range(int(os.environ["RESTARTS"])):
        before, deadline = served[0], time.monotonic() + PATIENCE
        while served[0] < before + 50 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE)
        server = start(manager)
        wait_ready(manager)
    done.set()
    for each in clients:
        each.join(PATIENCE)
    print(len(failed), "failed")
    print(served[0], "served", failed[:3], file=sys.stderr)
    return server


def main():
    with tempfile.TemporaryDirectory() as directory:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(os.path.join(directory, "notify"))
        server = None
        try:
            if mode == "restarts":
                server = restarts(manager)
                return
            server = start(manager)
            if mode == "https":
                print(get_https("/tls"), get("/x"))
                return
            text = get("/x")
            if mode == "systemd":
                manager.settimeout(2)
                try:
                    text = manager.recv(100).decode() + " " + text
                except socket.timeout:
                    text = "READY=0 " + text
            print(text)
        finally:
            if server:
                server.kill()
                server.wait()


main()
