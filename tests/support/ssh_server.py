"""A real SSH server on loopback that serves git to one key."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from real_stores import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def ssh_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the address of the server, and a client's configuration with the key that may log in."""
    assert PROGRAM is not None
    folder.mkdir()
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    [port] = free_ports(1)
    (folder / "allowed").write_text((folder / "key.pub").read_text())
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "server").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/allowed\nStrictModes no\n"
        f"UsePAM no\nPidFile {folder}/pid\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    client = folder / "client"
    client.write_text(f"Host *\n IdentityFile {folder}/key\n IdentitiesOnly yes\n UserKnownHostsFile {folder}/known\n")
    with subprocess.Popen([PROGRAM, "-D", "-e", "-f", str(folder / "server")], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert "listening" in server.stderr.readline()
            yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}", client
        finally:
            server.terminate()
