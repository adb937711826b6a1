module gometa

go 1.19
