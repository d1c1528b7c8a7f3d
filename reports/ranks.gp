# The rank of each layer in each run, in the order of the first run. Columns: position, layer, lowest
# and highest rank, borders between them, the rank in each run.

top = top + 60
set tmargin at screen y(top)
set bmargin at screen y(top + panel_height)
set xrange [0.4:layers + 0.6]
set yrange [layers + 0.6:0.4]
set grid ytics lt 1 lw 0.8 lc rgb "#DDDDDD"
if (layers <= 20) { set ytics 1, 1 } else { set ytics 5, 5; set ytics add ("1" 1) }
set xtics () font tiny
if (dense) { set xtics rotate by 90 right }
set label 3 "rank, least important first" at screen x(left), screen y(top - 35) left font small textcolor rgb "#222222"
set label 4 (stages > 0 ? "lines: stages of the plan; orange: a layer that the runs put into different stages" : \
    "line: half of the layers; orange: a layer that the runs put on different sides") \
    at screen x(left), screen y(top - 14) left font small textcolor rgb "#555555"
set label 5 "layer" at screen x(left - 12), screen y(top + panel_height + 25) @row_head
do for [b = 1:borders] {
    set arrow 100 + b from graph 0, first border_at[b] + 0.5 to graph 1, first border_at[b] + 0.5 nohead lw 1.2 dt 2 lc rgb "#555555"
    set arrow 200 + b from first border_at[b] + 0.5, graph 0 to first border_at[b] + 0.5, graph 1 nohead lw 1.2 dt 2 lc rgb "#555555"
    set label 100 + b sprintf("%d", border_at[b]) at graph 1, first border_at[b] right offset -0.3, 0 font tiny textcolor rgb "#555555"
}
# A gap between the marks of two layers, however many runs there are.
step = series > 4 ? 0.64 / series : 0.16
apart(n) = n > 0 ? 0xF3C26B : 0xCCCCCC
plot data using 1:3:xticlabel(2) with points ps 0.01 lc rgb "white", \
     data using 1:3:(0):($4 - $3):(apart($5)) with vectors nohead lw 5 lc rgb variable, \
     for [i = 1:series] data \
         using ($1 + (i - 0.5 * (series + 1)) * step):(column(i + 5)):(sprintf("run %d, layer %d: rank %g", run[i], $2, column(i + 5))) \
         with labels hypertext point ps 1.15 * mark_width(i) pt mark[i] lc rgb colour[i]
unset multiplot
