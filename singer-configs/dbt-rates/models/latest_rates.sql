-- The newest day, one row for each currency that was quoted on it.
{{ config(materialized='table') }}

with newest as (
    select to_jsonb(rates) as day
    from {{ source('singer', 'exchange_rate') }} as rates
    order by date desc
    limit 1
)

select
    (day ->> 'date')::date as date,
    currency.key as currency,
    currency.value::numeric as rate
from newest, jsonb_each_text(day) as currency
where currency.key ~ '^[A-Z]{3}$' and currency.value is not null
