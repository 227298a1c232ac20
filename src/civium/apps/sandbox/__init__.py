"""The sandbox's actors: a registration client, a partner administrator and a relying party, all over HTTP.

Nothing here touches the database or the keystore: an actor has what its counterpart in a country would have.
"""
