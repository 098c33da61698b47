"""A small ticket shop, wrong on purpose: each function has a fault that a scanner finds. Never run it."""

import hashlib
import pickle
import sqlite3
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree

import requests
import yaml
from flask import Flask, request
from jinja2 import Environment

app = Flask(__name__)
database = sqlite3.connect("tickets.sqlite")

ADMIN_PASSWORD = "hunter2"


@app.route("/tickets")
def tickets() -> str:
    """SQL from the outside: CWE-89."""
    name = request.args.get("name", "")
    rows = database.execute("SELECT * FROM tickets WHERE name = '%s'" % name)  # noqa: UP031
    return str(rows.fetchall())


@app.route("/ping")
def ping() -> bytes:
    """A shell command from the outside: CWE-78."""
    return subprocess.check_output("ping -c 1 " + request.args.get("host", ""), shell=True)


@app.route("/session", methods=["POST"])
def session() -> str:
    """Objects from the outside: CWE-502."""
    return str(pickle.loads(request.data))


@app.route("/settings", methods=["POST"])
def settings() -> str:
    """YAML that can build any object: CWE-20."""
    return str(yaml.load(request.data))


@app.route("/orders", methods=["POST"])
def orders() -> str:
    """XML with entities from the outside: CWE-20."""
    return str(ElementTree.fromstring(request.data))


@app.route("/hello")
def hello() -> str:
    """A page without escaping: CWE-94."""
    page = Environment(autoescape=False).from_string("<h1>Hello {{ name }}</h1>")
    return page.render(name=request.args.get("name", ""))


def password_digest(password: str) -> str:
    """A digest that is broken: CWE-327."""
    return hashlib.md5(password.encode()).hexdigest()


def export_path() -> str:
    """A name that somebody else can guess first: CWE-377."""
    return tempfile.mktemp()


def rates() -> object:
    """No check of the certificate: CWE-295."""
    return requests.get("https://rates.example.com/today", verify=False, timeout=10).json()


if __name__ == "__main__":
    app.run(host="0.0.0.0", debug=True)
