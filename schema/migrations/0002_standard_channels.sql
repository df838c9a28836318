-- names and units of the channels that bench and pilot bioreactors have
-- depends: 0001_telemetry

-- migrate: apply

insert into channels (name, unit, description) values
    ('temperature',               '°C',       'broth temperature, process value'),
    ('temperature_setpoint',      '°C',       'broth temperature, setpoint'),
    ('temperature_output',        '%',        'temperature controller, output'),
    ('ph',                        'pH',       'pH, process value'),
    ('ph_setpoint',               'pH',       'pH, setpoint'),
    ('ph_output',                 '%',        'pH controller, output: positive base, negative acid'),
    ('dissolved_oxygen',          '%',        'dissolved oxygen as part of saturation, process value'),
    ('dissolved_oxygen_setpoint', '%',        'dissolved oxygen, setpoint'),
    ('dissolved_oxygen_output',   '%',        'dissolved oxygen controller, output'),
    ('agitation',                 'rpm',      'stirrer speed'),
    ('gas_flow',                  'sL/h',     'total gas flow in'),
    ('exhaust_o2',                '%',        'oxygen in the exhaust gas'),
    ('exhaust_co2',               '%',        'carbon dioxide in the exhaust gas'),
    ('otr',                       'mmol/L/h', 'oxygen transfer rate'),
    ('ctr',                       'mmol/L/h', 'carbon dioxide transfer rate'),
    ('rq',                        '1',        'respiratory quotient, CTR / OTR'),
    ('feed_a_rate',               'mL/h',     'feed A, rate'),
    ('feed_a_total',              'mL',       'feed A, total volume'),
    ('volume',                    'mL',       'broth volume'),
    ('torque',                    'mNm',      'stirrer torque'),
    ('feed_b_rate',               'mL/h',     'feed B, rate'),
    ('feed_b_total',              'mL',       'feed B, total volume'),
    ('feed_c_rate',               'mL/h',     'feed C, rate'),
    ('feed_c_total',              'mL',       'feed C, total volume'),
    ('feed_d_rate',               'mL/h',     'feed D, rate'),
    ('feed_d_total',              'mL',       'feed D, total volume'),
    ('level',                     'µS',       'level probe'),
    ('weight',                    'kg',       'vessel weight'),
    ('pressure',                  'bar',      'head pressure'),
    ('foam',                      '%',        'foam probe'),
    ('redox',                     'mV',       'redox potential'),
    ('optical_density',           'AU',       'optical density'),
    ('conductivity',              'mS/cm',    'conductivity')
on conflict (name) do nothing;

-- migrate: rollback

-- Rows stay: layouts may refer to them.
