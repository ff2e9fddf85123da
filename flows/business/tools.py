"""The tools of the ERP, CRM, IT and OA agents.

Each is a plain function on the database, which LangChain runs in a thread. Names are matched
without regard to case, since they come from speech.
"""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from flows.gate import SIDE_EFFECTS

from .data import BusinessData


def _answer(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)


def _reading(function: Callable[..., str]) -> BaseTool:
    return StructuredTool.from_function(function, parse_docstring=True)


def _changing(function: Callable[..., str]) -> BaseTool:
    return StructuredTool.from_function(function, parse_docstring=True, metadata=dict(SIDE_EFFECTS))


def erp_tools(data: BusinessData) -> list[BaseTool]:
    """Stock, orders, purchasing."""

    def check_stock(product: str) -> str:
        """Tell how many pieces of a product are in stock, and its price.

        Args:
            product: Name of the product, or a part of it.
        """
        found = data.rows("SELECT * FROM products WHERE name LIKE ?", f"%{product.strip()}%")
        return _answer(products=found)

    def order_status(number: int) -> str:
        """Tell what an order contains and where it is.

        Args:
            number: The order number.
        """
        found = data.rows("SELECT * FROM orders WHERE number = ?", number)
        return _answer(order=found[0] if found else None)

    def place_order(customer: str, product: str, quantity: int) -> str:
        """Place an order for a customer.

        Args:
            customer: Name of the customer.
            product: Name of the product.
            quantity: How many pieces.
        """
        found = data.rows("SELECT * FROM products WHERE name LIKE ?", f"%{product.strip()}%")
        if len(found) != 1:
            return _answer(error="no such product, or more than one", products=found)
        if quantity < 1:
            return _answer(error="the quantity must be at least one")
        in_stock = found[0]["stock"] >= quantity
        status = "accepted" if in_stock else "waiting for stock"
        if in_stock:
            data.change(
                "UPDATE products SET stock = stock - ? WHERE name = ?", quantity, found[0]["name"]
            )
        number = data.change(
            "INSERT INTO orders (customer, product, quantity, status) VALUES (?, ?, ?, ?)",
            customer,
            found[0]["name"],
            quantity,
            status,
        )
        return _answer(number=number, status=status)

    return [_reading(check_stock), _reading(order_status), _changing(place_order)]


def crm_tools(data: BusinessData) -> list[BaseTool]:
    """Customers, contacts, deals."""

    def find_customer(name: str) -> str:
        """Find a customer's city and telephone number, and the notes of past contacts.

        Args:
            name: Name of the customer, or a part of it.
        """
        found = data.rows("SELECT * FROM customers WHERE name LIKE ?", f"%{name.strip()}%")
        for customer in found:
            notes = data.rows("SELECT note FROM contacts WHERE customer = ?", customer["name"])
            customer["notes"] = [note["note"] for note in notes]
        return _answer(customers=found)

    def open_deals(customer: str = "") -> str:
        """List deals that are not closed, with stage and value.

        Args:
            customer: Only those of this customer.
        """
        found = data.rows("SELECT * FROM deals WHERE customer LIKE ?", f"%{customer.strip()}%")
        return _answer(deals=found)

    def log_contact(customer: str, note: str) -> str:
        """Keep a note about a contact with a customer.

        Args:
            customer: Name of the customer.
            note: What was said or agreed.
        """
        found = data.rows("SELECT name FROM customers WHERE name LIKE ?", customer.strip())
        if not found:
            return _answer(error="no such customer")
        data.change("INSERT INTO contacts (customer, note) VALUES (?, ?)", found[0]["name"], note)
        return _answer(kept=True, customer=found[0]["name"])

    return [_reading(find_customer), _reading(open_deals), _changing(log_contact)]


def it_tools(data: BusinessData) -> list[BaseTool]:
    """Tickets and the state of services."""

    def service_status(service: str = "") -> str:
        """Tell whether a service such as email or the VPN is running.

        Args:
            service: Name of the service; all if empty.
        """
        found = data.rows("SELECT * FROM services WHERE name LIKE ?", f"%{service.strip()}%")
        return _answer(services=found)

    def ticket_status(number: int) -> str:
        """Tell what a ticket is about and how far it is.

        Args:
            number: The ticket number.
        """
        found = data.rows("SELECT * FROM tickets WHERE number = ?", number)
        return _answer(ticket=found[0] if found else None)

    def open_ticket(summary: str, priority: str = "normal") -> str:
        """Open a ticket for a technical problem.

        Args:
            summary: The problem in one sentence.
            priority: low, normal or high.
        """
        number = data.change(
            "INSERT INTO tickets (summary, priority, status) VALUES (?, ?, 'open')",
            summary,
            priority,
        )
        return _answer(number=number, status="open")

    return [_reading(service_status), _reading(ticket_status), _changing(open_ticket)]


def oa_tools(data: BusinessData) -> list[BaseTool]:
    """Leave and meeting rooms."""

    def leave_balance(employee: str) -> str:
        """Tell how many days of leave somebody has left.

        Args:
            employee: First name.
        """
        found = data.rows("SELECT * FROM employees WHERE name LIKE ?", employee.strip())
        return _answer(employee=found[0] if found else None)

    def request_leave(employee: str, first_day: date, days: int) -> str:
        """Ask for leave.

        Args:
            employee: First name.
            first_day: First day of the leave.
            days: Working days.
        """
        found = data.rows("SELECT * FROM employees WHERE name LIKE ?", employee.strip())
        if not found:
            return _answer(error="no such employee")
        if not 0 < days <= found[0]["leave_days"]:
            return _answer(error="not enough days", leave_days=found[0]["leave_days"])
        name = found[0]["name"]
        data.change("UPDATE employees SET leave_days = leave_days - ? WHERE name = ?", days, name)
        data.change(
            "INSERT INTO leave_requests (employee, first_day, days) VALUES (?, ?, ?)",
            name,
            first_day.isoformat(),
            days,
        )
        return _answer(requested=True, left=found[0]["leave_days"] - days)

    def book_room(room: str, day: date, hour: int, booked_for: str) -> str:
        """Book a meeting room for one hour.

        Args:
            room: Name of the room.
            day: The day.
            hour: Hour of the day at which it starts, 0 to 23.
            booked_for: Who needs it.
        """
        name = room.strip().title()
        taken = data.rows(
            "SELECT booked_for FROM rooms WHERE room = ? AND day = ? AND hour = ?",
            name,
            day.isoformat(),
            hour,
        )
        if taken:
            return _answer(error="taken", by=taken[0]["booked_for"])
        if not 0 <= hour <= 23:
            return _answer(error="the hour must be from 0 to 23")
        data.change(
            "INSERT INTO rooms VALUES (?, ?, ?, ?)", name, day.isoformat(), hour, booked_for
        )
        return _answer(booked=True, room=name)

    return [_reading(leave_balance), _changing(request_leave), _changing(book_room)]
