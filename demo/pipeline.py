"""The program of a node: a shop's jobs, those on a schedule and those that the shop submits. Three such nodes share the work.

    every quarter of the run                                              all along
    deliver ─┬─ extract_berlin ─┐                                         tick         at most once, twenty a second
             ├─ extract_london ─┼─ clean ──── load ──── report            pulse        a coroutine, at least once
             └─ extract_oslo ───┘ (process)   (retries)                   print_label  at most once, long enough to be cut
                                                │                         confirm      submitted, at least once
    fetch_rates (a coroutine) ··· rates file ···┘ late at first           gift_card    submitted, at most once

`load` needs the exchange rates of its delivery, which come a moment after the orders; until then it fails, and is tried
again. It writes its rows and the run's idempotency key in one transaction, so an attempt that is repeated loads nothing twice.

It works in the current folder, and tells its parent when it is ready.
"""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any, Final

from callsheet import Context, Scheduler, every, exponential
from footprint import MICROSECONDS, leave_footprints, microseconds, to_datetime
from plan import LABEL_S, ORDERS, PULSE_S, SHOPS, STORE, TICK_S, WAREHOUSE, Plan
from telling import tell

BANK_S: Final = 1.3

TABLES: Final = """
CREATE TABLE IF NOT EXISTS loads (key TEXT PRIMARY KEY, delivery INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS orders (order_id TEXT, delivery INTEGER, shop TEXT, sku TEXT, quantity INTEGER, euro_cents INTEGER);
CREATE TABLE IF NOT EXISTS rejected (order_id TEXT, delivery INTEGER, shop TEXT, reason TEXT);
"""

Row = dict[str, Any]


class RatesMissing(Exception):
    """The exchange rates of a delivery have not arrived yet."""


# ---- from files to the warehouse ----------------------------------------------------------------------------------------


def deliver(ctx: Context) -> int:
    """Orders have arrived: say which delivery it is."""
    with leave_footprints(ctx):
        assert ctx.slot is not None
        return Plan.read(Path.cwd()).delivery(microseconds(ctx.slot))


def extract(ctx: Context, delivery: int, shop: str) -> list[Row]:
    """Read one shop's file of a delivery, as it is."""
    with leave_footprints(ctx):
        file = ORDERS / f"{delivery}-{shop}.csv"
        with file.open(newline="") as lines:
            rows = [{**row, "shop": shop, "delivery": delivery} for row in csv.DictReader(lines)]
        ctx.log(f"{file.name}: {len(rows)} lines")
        return rows


def clean(ctx: Context, *extracted: list[Row]) -> list[Row]:
    """Mend what can be mended, say what is wrong with the rest, and take each order once."""
    with leave_footprints(ctx):
        cleaned = {row["order_id"]: mend(row) for rows in extracted for row in rows}
        return list(cleaned.values())


def mend(row: Row) -> Row:
    """Return a row with numbers and a tidy currency, or with a reason to reject it."""
    try:
        price = float(row["unit_price"].replace(",", "."))
        quantity = int(row["quantity"])
        reason = "" if quantity > 0 else f"the quantity is {quantity}"
    except ValueError as error:
        price, quantity, reason = 0.0, 0, str(error)
    tidy = {"sku": row["sku"].strip(), "currency": row["currency"].upper()}
    return {**row, **tidy, "price": price, "quantity": quantity, "reason": reason}


def load(ctx: Context, rows: list[Row]) -> int:
    """Convert to euros and load, once for each idempotency key."""
    with leave_footprints(ctx):
        delivery = int(rows[0]["delivery"])
        rates = read_rates(delivery)
        good = [
            (
                r["order_id"],
                delivery,
                r["shop"],
                r["sku"],
                r["quantity"],
                round(r["price"] / rates[r["currency"]] * 100),
            )
            for r in rows
            if not r["reason"]
        ]
        bad = [(r["order_id"], delivery, r["shop"], r["reason"]) for r in rows if r["reason"]]
        warehouse = open_warehouse()
        try:
            with warehouse:  # one transaction: the effect and its key, or neither
                warehouse.execute("BEGIN IMMEDIATE")
                key = (ctx.idempotency_key, delivery)
                if warehouse.execute("INSERT OR IGNORE INTO loads VALUES (?, ?)", key).rowcount:
                    warehouse.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", good)
                    warehouse.executemany("INSERT INTO rejected VALUES (?, ?, ?, ?)", bad)
        finally:
            warehouse.close()
        ctx.log(f"delivery {delivery}: {len(good)} orders loaded, {len(bad)} rejected")
        return delivery


def report(ctx: Context, delivery: int) -> dict[str, float]:
    """Add up a delivery's takings by shop, in euros."""
    with leave_footprints(ctx):
        warehouse = open_warehouse()
        try:
            query = "SELECT shop, sum(quantity * euro_cents) FROM orders WHERE delivery = ? GROUP BY shop"
            takings = {shop: cents / 100 for shop, cents in warehouse.execute(query, (delivery,))}
        finally:
            warehouse.close()
        Path(f"report-{delivery}.json").write_text(json.dumps(takings))
        return takings


async def fetch_rates(ctx: Context) -> None:
    """Fetch the exchange rates of a delivery; the bank takes its time."""
    with leave_footprints(ctx):
        assert ctx.slot is not None
        await asyncio.sleep(BANK_S)
        await asyncio.to_thread(write_rates, Plan.read(Path.cwd()).delivery(microseconds(ctx.slot)))


def write_rates(delivery: int) -> None:
    """Put the rates of a delivery where `load` looks for them, whole or not at all."""
    arriving = Path(f"rates-{delivery}.part")
    arriving.write_text(json.dumps({"EUR": 1.0, "GBP": 0.86 + delivery / 1000, "NOK": 11.6 + delivery / 100}))
    arriving.rename(f"rates-{delivery}.json")


def read_rates(delivery: int) -> dict[str, float]:
    """Return the rates of a delivery, currency to euro."""
    file = Path(f"rates-{delivery}.json")
    if not file.exists():
        raise RatesMissing(f"the exchange rates of delivery {delivery} have not arrived")
    rates: dict[str, float] = json.loads(file.read_text())
    return rates


def open_warehouse() -> sqlite3.Connection:
    """Open the warehouse; its tables are made when the program starts."""
    return sqlite3.connect(WAREHOUSE, timeout=10, isolation_level=None)


# ---- all along ----------------------------------------------------------------------------------------------------------


def tick(ctx: Context) -> None:
    """Something short that must never happen twice."""
    with leave_footprints(ctx):
        time.sleep(0.01)


async def pulse(ctx: Context) -> None:
    """Something short that must happen, and may happen twice."""
    with leave_footprints(ctx):
        await asyncio.sleep(0.02)


def print_label(ctx: Context) -> None:
    """Something that takes a while and must never happen twice: a kill finds it half done."""
    with leave_footprints(ctx):
        time.sleep(0.8)


def confirm(ctx: Context, order: int) -> str:
    """Confirm an order; a confirmation may be sent again."""
    with leave_footprints(ctx, key=f"confirm-{order}"):
        return f"order {order} is confirmed"


def gift_card(ctx: Context, order: int) -> str:
    """Charge a gift card, which nobody wants to happen twice."""
    with leave_footprints(ctx, key=f"gift_card-{order}"):
        return f"order {order} is paid"


def close_books(ctx: Context) -> None:
    """The last work of the day: it runs when its node is asked to stop, and is let finish."""
    with leave_footprints(ctx, key="close_books-0"):
        time.sleep(1.0)


# ---- the schedule -------------------------------------------------------------------------------------------------------


def declare(scheduler: Scheduler, plan: Plan) -> None:
    """Say what runs when. The same words on each node: what is known already stays as it is."""
    opening, closing = to_datetime(plan.opening), to_datetime(plan.closing)
    last = to_datetime(plan.rhythms()[-1].last)
    deliveries = every(plan.delivery_us / MICROSECONDS, start=opening).but(end=last)

    scheduler.add(deliver, deliveries, name="deliver", idempotent=True, catchup="all", tags=["orders"])
    for shop in SHOPS:
        scheduler.add(
            extract, name=f"extract_{shop}", after=[deliver], kwargs={"shop": shop}, idempotent=True, tags=["orders"]
        )
    extracts = [f"extract_{shop}" for shop in SHOPS]
    scheduler.add(clean, name="clean", after=extracts, executor="process", idempotent=True, tags=["orders"])
    patience = exponential(first=0.25, cap=1.0, attempts=25, jitter="equal", retry_on=RatesMissing)
    scheduler.add(load, name="load", after=[clean], retry=patience, tags=["orders"])
    scheduler.add(report, name="report", after=[load], idempotent=True, tags=["orders"])
    scheduler.add(fetch_rates, deliveries, name="fetch_rates", idempotent=True, catchup="all", overlap="allow_all")

    def all_along(period: float) -> Any:
        return every(period, start=opening).but(end=closing)

    scheduler.add(tick, all_along(TICK_S), name="tick")
    scheduler.add(pulse, all_along(PULSE_S), name="pulse", idempotent=True, catchup="all", overlap="allow_all")
    scheduler.add(print_label, all_along(LABEL_S), name="print_label")
    scheduler.add(confirm, name="confirm", idempotent=True, overlap="allow_all")
    scheduler.add(gift_card, name="gift_card", overlap="allow_all")
    scheduler.add(close_books, name="close_books", idempotent=True)


def main(name: str) -> None:
    """Load, wait until the parent has made the plan, and run until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    tell(kind="loaded")
    sys.stdin.readline()
    open_warehouse().executescript(TABLES).connection.close()
    scheduler = Scheduler(f"sqlite:///{STORE}", name=name, threads=8, processes=1, allow_shell=True)
    declare(scheduler, Plan.read(Path.cwd()))
    scheduler.run(started=lambda: tell(kind="ready"))


if __name__ == "__main__":
    main(sys.argv[1])
