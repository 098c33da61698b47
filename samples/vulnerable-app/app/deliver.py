"""Sends what was sold, wrong on purpose. Never run it."""

import ftplib
import random
import ssl
import tarfile

import paramiko


def ticket_code() -> str:
    """A code that can be guessed: CWE-330."""
    return "".join(random.choice("ABCDEFGH23456789") for _ in range(8))


def unpack(archive: str) -> None:
    """Files that leave their folder: CWE-22."""
    with tarfile.open(archive) as bundle:
        bundle.extractall("/srv/incoming")


def upload(host: str, path: str) -> None:
    """A protocol in clear text, and any host key is welcome: CWE-319, CWE-295."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(host)
    client.exec_command("tar xf " + path)
    with ftplib.FTP(host) as ftp:
        ftp.cwd("/incoming")


def context() -> ssl.SSLContext:
    """A protocol that was withdrawn: CWE-327."""
    return ssl.SSLContext(ssl.PROTOCOL_SSLv3)
