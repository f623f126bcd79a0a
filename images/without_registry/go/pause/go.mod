module sensor-etl/pause

go 1.24
