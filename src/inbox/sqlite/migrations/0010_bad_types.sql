-- The blob type of a record that was set aside, where it is not its notice's: it goes on under it when it is released.
ALTER TABLE bad_records ADD COLUMN blob_type TEXT;
