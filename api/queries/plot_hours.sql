-- What is kept of each hour for plots.

-- name: hours
-- The hours of the device $1 from $3 to $4 of which something is kept, with the samples of the channel $2, for COPY in
-- binary form, without nulls. The row of channel 0 says that an hour is there, also where the channel has no sample.
select h.hour, c.first_time is not null, c.bad_time is not null,
       coalesce(c.first_time, h.hour), coalesce(c.first, 'NaN'), coalesce(c.least_time, h.hour), coalesce(c.least, 'NaN'),
       coalesce(c.most_time, h.hour), coalesce(c.most, 'NaN'), coalesce(c.last_time, h.hour), coalesce(c.last, 'NaN'),
       coalesce(c.bad_time, h.hour), coalesce(c.bad, 'NaN'), coalesce(c.bad_quality, 0::smallint)
  from plot_hours h
  left join plot_hours c on c.device_id = $1 and c.channel_id = $2 and c.hour = h.hour
 where h.device_id = $1 and h.channel_id = 0 and h.hour >= $3 and h.hour < $4
 order by h.hour;
