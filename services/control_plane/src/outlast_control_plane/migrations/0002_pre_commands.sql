-- How many partitions the topics have whose partition is a lane. It never changes, so it is asked for once.
create table lanes (
    topic text primary key,
    count int not null check (count > 0)
);
