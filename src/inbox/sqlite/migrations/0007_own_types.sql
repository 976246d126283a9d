-- The blob type of a parked record, where it is not its notice's: records of one file may be of many types.
ALTER TABLE parked ADD COLUMN blob_type TEXT;
