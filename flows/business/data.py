"""The business data: a SQLite database with a sample of everything the agents can ask for."""

import sqlite3
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS products (name TEXT PRIMARY KEY, stock INTEGER, price REAL);
CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, customer TEXT, product TEXT,
    quantity INTEGER, status TEXT);
CREATE TABLE IF NOT EXISTS customers (name TEXT PRIMARY KEY, city TEXT, phone TEXT);
CREATE TABLE IF NOT EXISTS contacts (id INTEGER PRIMARY KEY, customer TEXT, note TEXT);
CREATE TABLE IF NOT EXISTS deals (id INTEGER PRIMARY KEY, customer TEXT, title TEXT, stage TEXT,
    value REAL);
CREATE TABLE IF NOT EXISTS tickets (number INTEGER PRIMARY KEY, summary TEXT, priority TEXT,
    status TEXT);
CREATE TABLE IF NOT EXISTS services (name TEXT PRIMARY KEY, status TEXT);
CREATE TABLE IF NOT EXISTS employees (name TEXT PRIMARY KEY, leave_days INTEGER);
CREATE TABLE IF NOT EXISTS leave_requests (id INTEGER PRIMARY KEY, employee TEXT,
    first_day TEXT, days INTEGER);
CREATE TABLE IF NOT EXISTS rooms (room TEXT, day TEXT, hour INTEGER, booked_for TEXT,
    PRIMARY KEY (room, day, hour));
"""
_SAMPLE: dict[str, Sequence[tuple[Any, ...]]] = {
    "products": [("desk lamp", 42, 39.9), ("office chair", 7, 189.0), ("standing desk", 0, 449.0)],
    "orders": [
        (1001, "Acme", "office chair", 4, "shipped"),
        (1002, "Globex", "standing desk", 2, "waiting for stock"),
        (1003, "Acme", "desk lamp", 10, "delivered"),
    ],
    "customers": [("Acme", "Leeds", "0113 496 0001"), ("Globex", "Berlin", "030 5550 102")],
    "deals": [
        (1, "Acme", "furniture for the new floor", "proposal", 12500.0),
        (2, "Globex", "service contract", "negotiation", 8000.0),
    ],
    "tickets": [
        (501, "printer on the second floor is out of toner", "low", "open"),
        (502, "no access to the shared drive", "high", "in progress"),
    ],
    "services": [("email", "running"), ("vpn", "degraded"), ("wiki", "running")],
    "employees": [("Alice", 12), ("Bob", 3)],
    "rooms": [("Atlas", "2026-03-05", 10, "Bob")],
}


class BusinessData:
    """One connection to the database, used by one thread at a time.

    Args:
        path: The SQLite file; in memory if None. An empty database gets the sample.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False)
        # For whoever takes the default and never closes it.
        weakref.finalize(self, self._connection.close)
        self._connection.row_factory = sqlite3.Row
        with self._connection:
            self._connection.executescript(_SCHEMA)
        if not self.rows("SELECT 1 FROM products LIMIT 1"):
            self._fill()

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What a query finds."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(query, values)]

    def change(self, statement: str, *values: Any) -> int:
        """Change something and commit; returns the id of a new row."""
        with self._lock, self._connection:
            return self._connection.execute(statement, values).lastrowid or 0

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._connection.close()

    def _fill(self) -> None:
        with self._lock, self._connection:
            for table, rows in _SAMPLE.items():
                places = ", ".join("?" for _ in rows[0])
                # The table's name comes from the constant above.
                self._connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
