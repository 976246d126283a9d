-- How often a key was taken away from what sinks are known to hold. Whoever remembers that a key is known looks whether
-- this has changed. A trigger keeps it, so that nothing takes a key away unseen.
CREATE TABLE forgettings (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL CHECK (count >= 0)
) STRICT;

INSERT INTO forgettings (one, count) VALUES (1, 0);

CREATE TRIGGER known_keys_gone AFTER DELETE ON known_keys BEGIN
    UPDATE forgettings SET count = count + 1;
END;
