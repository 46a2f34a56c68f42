"""Methods that choose whom to ask: who teaches most, who is quick, who will soon be gone."""
