// The row of a table that an id names: below zero, ids count from the end.

fn row_of_id(id: i32, table_rows: u32) -> u32 {
    return u32(select(id, id + i32(table_rows), id < 0));
}
