module gometa-tour

go 1.19

require gometa v0.0.0

replace gometa => ../../go
