"""A graph that grows while it runs: orders are weighed, heavy ones split, and each parcel goes by the cheapest carrier.

- Branches: `ship` is an ordinary `if` over a weight that another node found out, and calls itself for the halves.
- Sub-graphs: `CheapestQuote` is a definition of its own. Called inside a node, its nodes join the same instance.
- Promises in containers: what decorated calls give goes into lists, dicts and dataclasses as if it were the value, and
  whoever receives it sees values only.
"""

from dataclasses import dataclass

from dagorama import DAGDefinition, dagorama, launch_workers, resolve
from dagorama_broker.launch import launch_broker

PARCEL_WEIGHT_MAX_KG = 30.0

ITEM_WEIGHTS_KG = {"book": 0.5, "lamp": 4.0, "anvil": 45.0}

#: What each carrier takes: cents for a parcel, and for each kg of it.
RATES = {"bike": (300, 90), "van": (600, 40), "rail": (1000, 10)}


@dataclass(frozen=True)
class Quote:
    carrier: str
    price_cents: int


@dataclass(frozen=True)
class Parcel:
    weight_kg: float
    quote: Quote


@dataclass(frozen=True)
class Invoice:
    parcels: dict[str, list[Parcel]]
    total_cents: int


class CheapestQuote(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, weight_kg: float) -> Quote:
        return self.cheapest({carrier: self.ask(carrier, weight_kg) for carrier in RATES})

    @dagorama().syncfn
    def ask(self, carrier: str, weight_kg: float) -> int:
        base_cents, cents_per_kg = RATES[carrier]
        return base_cents + round(cents_per_kg * weight_kg)

    @dagorama().syncfn
    def cheapest(self, prices_cents: dict[str, int]) -> Quote:
        carrier = min(prices_cents, key=prices_cents.__getitem__)
        return Quote(carrier=carrier, price_cents=prices_cents[carrier])


class Shipping(DAGDefinition):
    @dagorama().syncfn
    def entrypoint(self, orders: dict[str, list[str]]) -> Invoice:
        return self.invoice({customer: self.ship(self.weigh(items)) for customer, items in orders.items()})

    @dagorama().syncfn
    def weigh(self, items: list[str]) -> float:
        return sum(ITEM_WEIGHTS_KG[item] for item in items)

    @dagorama().syncfn
    def ship(self, weight_kg: float) -> list[Parcel]:
        if weight_kg > PARCEL_WEIGHT_MAX_KG:
            return self.together([self.ship(weight_kg / 2), self.ship(weight_kg / 2)])
        _, quote = CheapestQuote()(weight_kg)
        return [Parcel(weight_kg=weight_kg, quote=quote)]

    @dagorama().syncfn
    def together(self, shipments: list[list[Parcel]]) -> list[Parcel]:
        return [parcel for shipment in shipments for parcel in shipment]

    @dagorama().syncfn
    def invoice(self, parcels: dict[str, list[Parcel]]) -> Invoice:
        prices_cents = [parcel.quote.price_cents for shipment in parcels.values() for parcel in shipment]
        return Invoice(parcels=parcels, total_cents=sum(prices_cents))


if __name__ == "__main__":
    orders = {"Ada": ["book", "book"], "Bo": ["lamp", "lamp", "lamp"], "Cy": ["anvil", "anvil", "book"]}
    with launch_broker(port=0), launch_workers(2):
        instance, promise = Shipping()(orders)
        invoice = resolve(instance, promise, wait_for_results=True)
    for customer, parcels in invoice.parcels.items():
        for parcel in parcels:
            cents = parcel.quote.price_cents
            print(f"{customer}: {parcel.weight_kg:.2f} kg by {parcel.quote.carrier} for {cents / 100:.2f}")
    print(f"total: {invoice.total_cents / 100:.2f}")
