"""Feature stores, their keys, plans and catalogue: what remembers. No networks here."""
