-- Certificates themselves, beside what is known of them. Those that were issued
-- before are not at hand.
ALTER TABLE certificates ADD COLUMN der BLOB;
