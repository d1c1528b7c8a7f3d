#!/usr/bin/env python3
"""Pairs of final answers with the right verdict, for tests/test_answers.c.

Each line of PAIRS is: answer | gold | what both mean, in sympy's words. The verdict is sympy's: the
difference simplifies to zero, sets and matrices are equal; it never comes from apriel-tool. Where the
third part is a bare word, it is the verdict itself, of texts that sympy has no words for: same,
differ, or refuse (two readings, or a form that is out of scope: neither equal nor different).

usage: answers.py > tests/data/answers.jsonl
"""
import json

import sympy
from sympy import *  # noqa: F401,F403

x, y, z, a, b, c, n, r, t, k = symbols("x y z a b c n r t k", real=True)
theta, alpha = symbols("theta alpha", real=True)
x_1, x_2, m, g, h, s, L, v = symbols("x_1 x_2 m g h s L v", real=True)
inf = oo
R = S.Reals


def deg(v):
    return v * pi / 180


def I_(lo, hi, left=False, right=False):
    return Interval(lo, hi, left, right)


PAIRS = r"""
42 | 42 | 42 ; 42
42.0 | 42 | Rational('42.0') ; 42
0042 | 42 | 42 ; 42
1,234 | 1234 | 1234 ; 1234
1,234,567.5 | 1234567.5 | Rational('1234567.5') ; Rational('1234567.5')
1{,}000 | 1000 | 1000 ; 1000
10,\!000 | 10000 | 10000 ; 10000
10\,000 | 10000 | 10000 ; 10000
999999999 | 1000000000 | 999999999 ; 1000000000
123456789012345678901 | 123456789012345678902 | 123456789012345678901 ; 123456789012345678902
10^{100}+1 | 10^{100} | 10**100+1 ; 10**100
10^{400}+1 | 10^{400} | 10**400+1 ; 10**400
2^{1000} | 2^{999}\cdot 2 | 2**1000 ; 2**999*2
\frac{1}{2004!} | \frac{1}{2006!} | 1/factorial(2004) ; 1/factorial(2006)
\frac{1}{2^{99}} | \frac{1}{2^{98}} | Rational(1,2**99) ; Rational(1,2**98)
10^{-13} | 0 | Rational(1,10**13) ; 0
10^{-300} | 0 | Rational(1,10**300) ; 0
0.0000000000001 | 0 | Rational(1,10**13) ; 0
\frac{1}{3} | \frac{333333333}{1000000000} | Rational(1,3) ; Rational(333333333,10**9)
\frac{22}{7} | \pi | Rational(22,7) ; pi
\frac{355}{113} | \pi | Rational(355,113) ; pi
e^{\pi\sqrt{163}} | 262537412640768744 | exp(pi*sqrt(163)) ; 262537412640768744
3e4 | 30000 | 30000 ; 30000
1.5e-3 | 0.0015 | Rational(3,2000) ; Rational(3,2000)
2.5 \times 10^3 | 2500 | 2500 ; 2500
6.02\cdot10^{23} | 602 \times 10^{21} | 602*10**21 ; 602*10**21
-7 | 7 | -7 ; 7
−7 | -7 | -7 ; -7
– 7 | -7 | -7 ; -7
+3 | 3 | 3 ; 3
0.5 | \frac12 | Rational(1,2) ; Rational(1,2)
.25 | \frac{1}{4} | Rational(1,4) ; Rational(1,4)
0.3 | \frac13 | Rational(3,10) ; Rational(1,3)
2.718281828 | e | same
2.71828 | e | differ
1.41421356 | \sqrt{2} | Rational('1.41421356') ; Rational('1.41421357')
\frac{6}{8} | \frac{3}{4} | Rational(6,8) ; Rational(3,4)
3/4 | \dfrac{3}{4} | Rational(3,4) ; Rational(3,4)
\frac34 | \tfrac{3}{4} | Rational(3,4) ; Rational(3,4)
\frac{-1}{2} | -\frac12 | -Rational(1,2) ; -Rational(1,2)
\frac{1}{-2} | -\frac12 | -Rational(1,2) ; -Rational(1,2)
{3 \over 4} | 0.75 | Rational(3,4) ; Rational(3,4)
½ | 0.5 | Rational(1,2) ; Rational(1,2)
2¾ | \frac{11}{4} | Rational(11,4) ; Rational(11,4)
2 3/4 | 2.75 | Rational(11,4) ; Rational(11,4)
-1\frac{1}{2} | -\frac{3}{2} | -Rational(3,2) ; -Rational(3,2)
5\frac{1}{2} | \frac{5}{2} | Rational(11,2) ; Rational(5,2)
\frac{\frac{1}{2}}{\frac{3}{4}} | \frac{2}{3} | Rational(2,3) ; Rational(2,3)
\frac{a}{b} | \frac{b}{a} | a/b ; b/a
\sqrt{8} | 2\sqrt{2} | sqrt(8) ; 2*sqrt(2)
√8 | 2√2 | sqrt(8) ; 2*sqrt(2)
√(x+1) | \sqrt{x+1} | sqrt(x+1) ; sqrt(x+1)
√2 | 2 | sqrt(2) ; 2
\sqrt[3]{54} | 3\sqrt[3]{2} | real_root(54,3) ; 3*real_root(2,3)
\sqrt[3]{-8} | -2 | -2 ; -2
∛27 | 3 | 3 ; 3
\sqrt[4]{16} | 2 | 2 ; 2
27^{2/3} | 9 | 9 ; 9
8^{-\frac{1}{3}} | \frac12 | Rational(1,2) ; Rational(1,2)
sqrt(5)/2 | \frac{\sqrt5}{2} | sqrt(5)/2 ; sqrt(5)/2
\frac{1}{\sqrt{3}} | \frac{\sqrt{3}}{3} | 1/sqrt(3) ; sqrt(3)/3
\sqrt{5+2\sqrt{6}} | \sqrt{2}+\sqrt{3} | sqrt(2)+sqrt(3) ; sqrt(2)+sqrt(3)
\frac{1+\sqrt{5}}{2} | \frac{2}{\sqrt{5}-1} | (1+sqrt(5))/2 ; 2/(sqrt(5)-1)
\sqrt{2}+\sqrt{3} | \sqrt{5} | sqrt(2)+sqrt(3) ; sqrt(5)
\sqrt{-4} | 2i | sqrt(-4) ; 2*I
i^2 | -1 | I**2 ; -1
(1+i)^2 | 2i | expand((1+I)**2) ; 2*I
\frac{1}{1+i} | \frac{1-i}{2} | 1/(1+I) ; (1-I)/2
3+4i | 4+3i | 3+4*I ; 4+3*I
|3+4i| | 5 | 5 ; 5
e^{i\pi} | -1 | exp(I*pi) ; -1
2^{10} | 1024 | 1024 ; 1024
2^10 | 1024 | 1024 ; 1024
2**10 | 1024 | 1024 ; 1024
2³ | 8 | 8 ; 8
-2^2 | -4 | -4 ; -4
(-2)^2 | 4 | 4 ; 4
2^{3^2} | 512 | 512 ; 512
5! | 120 | 120 ; 120
\frac{2000!}{1999!} | 2000 | 2000 ; 2000
\frac{10!}{7!3!} | 120 | 120 ; 120
\binom{5}{2} | 10 | 10 ; 10
\dbinom{10}{3} | 120 | 120 ; 120
{7 \choose 3} | 35 | 35 ; 35
\binom{5}{2} | \binom{5}{3} | 10 ; 10
\ln e | 1 | 1 ; 1
\ln(e^3) | 3 | 3 ; 3
\log_2 8 | 3 | 3 ; 3
\log_{10} 1000 | 3 | 3 ; 3
\log 100 | 2 | 2 ; 2
\log_28 | 3 | 3 ; 3
\log_{4}{8} | \frac32 | Rational(3,2) ; Rational(3,2)
\frac{\ln 8}{\ln 2} | 3 | 3 ; 3
\ln 6 | \ln 2 + \ln 3 | log(6) ; log(2)+log(3)
\ln 2 | \log_{10} 2 | log(2) ; log(2,10)
\sin 30^\circ | 1/2 | sin(deg(30)) ; Rational(1,2)
\sin 30 | \frac{1}{2} | sin(30) ; Rational(1,2)
\cos 60° | 0.5 | Rational(1,2) ; Rational(1,2)
\tan 45^{\circ} | 1 | 1 ; 1
\sin\frac{\pi}{6} | \frac12 | Rational(1,2) ; Rational(1,2)
\cos(\pi/3) | 0.5 | Rational(1,2) ; Rational(1,2)
\sin^2 x + \cos^2 x | 1 | sin(x)**2+cos(x)**2 ; 1
2\sin x\cos x | \sin 2x | 2*sin(x)*cos(x) ; sin(2*x)
\sin 2x | 2\sin x | sin(2*x) ; 2*sin(x)
\arctan 1 | \frac{\pi}{4} | pi/4 ; pi/4
\sin^{-1} 1 | \frac{\pi}{2} | pi/2 ; pi/2
\sec^2\theta - \tan^2\theta | 1 | sec(theta)**2-tan(theta)**2 ; 1
\sin x/2 | \frac{\sin x}{2} | refuse
\sin (x)^2 | \sin^2 x | refuse
30^\circ | 30 | 30 ; 30
90° | 90 | 90 ; 90
\frac{\pi}{2} | 90^\circ | pi/2 ; 90
2\pi | 6.28 | 2*pi ; Rational('6.28')
π/2 | \frac{\pi}{2} | pi/2 ; pi/2
2pi | 2\pi | 2*pi ; 2*pi
4\pi r^2 | 4\pi\,r^{2} | 4*pi*r**2 ; 4*pi*r**2
\lfloor 3.7 \rfloor | 3 | 3 ; 3
\lceil \sqrt{2} \rceil | 2 | 2 ; 2
|-5| | 5 | 5 ; 5
|x| | x | Abs(x) ; x
\sqrt{x^2} | x | sqrt(x**2) ; x
\sqrt{x^2} | |x| | Abs(x) ; Abs(x)
|x-2| | |2-x| | Abs(x-2) ; Abs(2-x)
\frac{x^2-1}{x-1} | x+1 | (x**2-1)/(x-1) ; x+1
(x+1)^2 | x^2+2x+1 | (x+1)**2 ; x**2+2*x+1
(x+1)(x-1) | x^2-1 | (x+1)*(x-1) ; x**2-1
x^2-1 | x^2+1 | x**2-1 ; x**2+1
(a+b)^3 | a^3+3a^2b+3ab^2+b^3 | (a+b)**3 ; a**3+3*a**2*b+3*a*b**2+b**3
a+b | b+a | a+b ; b+a
a-b | b-a | a-b ; b-a
-(a-b) | b-a | -(a-b) ; b-a
2xy | 2yx | 2*x*y ; 2*y*x
x^{10} | x^10 | x**10 ; x**10
\frac{x}{2} | 0.5x | x/2 ; x/2
3x | x3 | refuse
x_1 + x_2 | x_{2}+x_{1} | x_1+x_2 ; x_2+x_1
x_1 | x_{1} | x_1 ; x_1
x_1 | x_2 | x_1 ; x_2
\alpha+1 | 1+\alpha | alpha+1 ; 1+alpha
\theta | \alpha | theta ; alpha
2^{n+1} | 2\cdot 2^n | 2**(n+1) ; 2*2**n
2^{n+1} | 2^n+1 | 2**(n+1) ; 2**n+1
\frac{n(n+1)}{2} | \frac{n^2+n}{2} | n*(n+1)/2 ; (n**2+n)/2
x=5 | 5 | 5 ; 5
x = -5 | 5 | -5 ; 5
5 = x | x = 5 | 5 ; 5
f(x)=2x+1 | 2x+1 | 2*x+1 ; 2*x+1
y = 2x+3 | 2x - y + 3 = 0 | same
y = 2x+3 | y = 2x-3 | differ
2x + 4y = 6 | x + 2y = 3 | same
x^2 + y^2 = 1 | y^2 + x^2 - 1 = 0 | same
x^2 + y^2 = 1 | x^2 + y^2 = 2 | differ
5 + 3 = 8 | 8 | 8 ; 8
x = 2 + 3 = 5 | 5 | 5 ; 5
x>3 | (3, \infty) | I_(3,inf,True) ; I_(3,inf,True)
x \ge 3 | [3,\infty) | I_(3,inf) ; I_(3,inf)
x ≥ 3 | (3,\infty) | I_(3,inf) ; I_(3,inf,True)
3 \le x | x \geq 3 | I_(3,inf) ; I_(3,inf)
1 < x \le 4 | (1,4] | I_(1,4,True) ; I_(1,4,True)
4 \ge x > 1 | 1 < x \leq 4 | I_(1,4,True) ; I_(1,4,True)
-2 \le x \le 7 | x \in [-2,7] | I_(-2,7) ; I_(-2,7)
x < 1 \text{ or } x > 3 | (-\infty,1) \cup (3,\infty) | Union(I_(-inf,1,True,True),I_(3,inf,True,True)) ; Union(I_(-inf,1,True,True),I_(3,inf,True,True))
x > 1 \text{ and } x < 3 | (1,3) | I_(1,3,True,True) ; I_(1,3,True,True)
x \ne 2 | (-\infty,2)\cup(2,\infty) | R - FiniteSet(2) ; R - FiniteSet(2)
x \neq 2 | x \ne 3 | R - FiniteSet(2) ; R - FiniteSet(3)
2x > 6 | x > 3 | same
2x > 6 | x < 3 | differ
-x > 3 | x < -3 | same
x+y \le 4 | y \le 4 - x | same
[0,1)\cup[1,2] | [0,2] | I_(0,2) ; I_(0,2)
(0,1) \cup (2,3) | (2,3)\cup(0,1) | Union(I_(0,1,True,True),I_(2,3,True,True)) ; Union(I_(0,1,True,True),I_(2,3,True,True))
(0,1) ∪ (2,3) | (0,3) | Union(I_(0,1,True,True),I_(2,3,True,True)) ; I_(0,3,True,True)
(0,1) \cup (2,3) | [0,1] \cup (2,3) | Union(I_(0,1,True,True),I_(2,3,True,True)) ; Union(I_(0,1),I_(2,3,True,True))
(0,2) \cap (1,3) | (1,2) | I_(1,2,True,True) ; I_(1,2,True,True)
\mathbb{R} \setminus \{0\} | (-\infty,0)\cup(0,\infty) | R - FiniteSet(0) ; R - FiniteSet(0)
(-\infty,\infty) | \mathbb{R} | R ; R
(-∞, 5] | x \le 5 | I_(-inf,5) ; I_(-inf,5)
(-\infty, 5] | (-\infty, 5) | I_(-inf,5) ; I_(-inf,5,True,True)
(-\infty, -\sqrt{2}] | (-\infty,-2^{1/2}] | I_(-inf,-sqrt(2)) ; I_(-inf,-sqrt(2))
[0,1) | [0,1] | I_(0,1,False,True) ; I_(0,1)
\left[-\frac12, 3\right] | [-0.5,3] | I_(-Rational(1,2),3) ; I_(-Rational(1,2),3)
\emptyset | no solution | same
\{\} | \emptyset | same
(1,2) | (2,1) | Tuple(1,2) ; Tuple(2,1)
(1, 2) | \left(1,2\right) | Tuple(1,2) ; Tuple(1,2)
(\frac12, 3) | (0.5,3) | Tuple(Rational(1,2),3) ; Tuple(Rational(1,2),3)
(1,2,3) | (1,2,4) | Tuple(1,2,3) ; Tuple(1,2,4)
(3,-1) | \langle 3,-1\rangle | Tuple(3,-1) ; Tuple(3,-1)
(2\cos t, 2\sin t) | (2\cos t,3\sin t) | Tuple(2*cos(t),2*sin(t)) ; Tuple(2*cos(t),3*sin(t))
1, 2 | 2, 1 | FiniteSet(1,2) ; FiniteSet(2,1)
1 and 2 | 2,1 | FiniteSet(1,2) ; FiniteSet(2,1)
1, 2, and 3 | 3,2,1 | FiniteSet(1,2,3) ; FiniteSet(1,2,3)
1 \text{ and } 2 | 1,3 | FiniteSet(1,2) ; FiniteSet(1,3)
x = 1 \text{ or } x = 2 | 1, 2 | FiniteSet(1,2) ; FiniteSet(1,2)
x=1, x=-1 | \pm 1 | FiniteSet(1,-1) ; FiniteSet(1,-1)
\pm 2 | 2, -2 | FiniteSet(2,-2) ; FiniteSet(2,-2)
±3 | -3, 3 | FiniteSet(3,-3) ; FiniteSet(3,-3)
3 \pm \sqrt{2} | 3+\sqrt2, 3-\sqrt2 | FiniteSet(3+sqrt(2),3-sqrt(2)) ; FiniteSet(3+sqrt(2),3-sqrt(2))
\frac{1 \pm \sqrt{5}}{2} | \frac{1\pm\sqrt{3}}{2} | FiniteSet((1+sqrt(5))/2,(1-sqrt(5))/2) ; FiniteSet((1+sqrt(3))/2,(1-sqrt(3))/2)
\pm 2 | 2 | FiniteSet(2,-2) ; FiniteSet(2)
x=1, y=2 | y=2, x=1 | same
x=1, y=2 | x=2, y=1 | differ
x = 1, y = 2 | (1,2) | same
\{1,2,3\} | \{3,1,2\} | FiniteSet(1,2,3) ; FiniteSet(1,2,3)
\{1,2\} | \{1,2,3\} | FiniteSet(1,2) ; FiniteSet(1,2,3)
\{1,1,2\} | \{1,2\} | FiniteSet(1,2) ; FiniteSet(1,2)
\{5\} | 5 | same
100,200 | 200,100 | FiniteSet(100,200) ; FiniteSet(100,200)
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} | \begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix} | Matrix([[1,2],[3,4]]) ; Matrix([[1,2],[3,4]])
\begin{pmatrix} 1/2 & 0 \\ 0 & 1 \end{pmatrix} | \begin{pmatrix} 0.5 & 0 \\ 0 & 1 \end{pmatrix} | Matrix([[Rational(1,2),0],[0,1]]) ; Matrix([[Rational(1,2),0],[0,1]])
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} | \begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix} | Matrix([[1,2],[3,4]]) ; Matrix([[1,3],[2,4]])
\begin{pmatrix} 1 \\ 2 \end{pmatrix} | \begin{pmatrix} 1 & 2 \end{pmatrix} | Matrix([1,2]) ; Matrix([[1,2]])
\left( \begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array} \right) | \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} | Matrix([[1,2],[3,4]]) ; Matrix([[1,2],[3,4]])
\begin{pmatrix} \frac{1}{2} \\ -\sqrt{4} \end{pmatrix} | \begin{pmatrix}0.5\\-2\end{pmatrix} | Matrix([Rational(1,2),-2]) ; Matrix([Rational(1,2),-2])
4210_{5} | 4210_5 | 555 ; 555
1011_2 | 11 | refuse
1011_2 | 13_8 | refuse
204_5 | 54 | refuse
204_5 | 55 | 54 ; 55
54_{10} | 54 | 54 ; 54
\frac 34 | \frac14 | Rational(3,4) ; Rational(1,4)
1011_2 | 1011 | 11 ; 1011
1A_{16} | 1a_{16} | 26 ; 26
FF_{16} | FF_{16} | 255 ; 255
FF_{16} | FE_{16} | 255 ; 254
A2F_{16} | 2607 | refuse
120_3 | 120_4 | 15 ; 24
50\% | \frac12 | Rational(1,2) ; Rational(1,2)
50% | 50 | same
12.5% | 0.125 | Rational(1,8) ; Rational(1,8)
50% | 5 | differ
50% | 50\% | same
\$18 | 18 | 18 ; 18
$18.50 | 18.5 | Rational('18.5') ; Rational('18.5')
€5 | 5 | 5 ; 5
12 dollars | 12 | 12 ; 12
12 cm | 12 | 12 ; 12
12 \text{ cm}^2 | 12 | 12 ; 12
12\ \mathrm{cm} | 12\text{ cm} | 12 ; 12
5 centimeters | 5 cm | same
3 hours | 3\text{ hr} | same
60 miles per hour | 60 mph | same
25 square feet | 25\text{ ft}^2 | same
5 km | 5 miles | refuse
100 cm | 1 m | refuse
6 apples | 5 apples | differ
2 hours 30 minutes | 2 | refuse
5 m | 5 | 5 ; 5
3:2 | 3:2 | same
3:2 | 6:4 | refuse
3:2 | \frac32 | refuse
\text{east} | East | same
\text{(B)} | B | same
(B) | b | same
B) | B | same
\textbf{(C)} | C | same
(A) | B | differ
Evelyn | evelyn | same
\text{Evelyn} | Evelyn. | same
Monday | Tuesday | differ
even | odd | differ
yes | no | differ
twelve | 12 | 12 ; 12
Seven | 8 | 7 ; 8
\text{odd} | 3 | differ
red and blue | blue, red | same
**18** | 18 | 18 ; 18
**3/4** | 0.75 | Rational(3,4) ; Rational(3,4)
\boxed{7} | 7 | 7 ; 7
\mathbf{7} | 7 | 7 ; 7
7. | 7 | 7 ; 7
7\text{.} | 7 | refuse
\frac{0}{0} | 1 | refuse
\int_0^1 x dx | \frac12 | refuse
\sum_{i=1}^{3} i | 6 | refuse
\lim_{x\to 0} \frac{\sin x}{x} | 1 | refuse
1.000000000001 | 1 | same
100000000.5 | 100000000 | Rational('100000000.5') ; 100000000
0.1+0.2 | 0.3 | Rational(3,10) ; Rational(3,10)
2\frac{3}{4}x | \frac{11x}{4} | Rational(11,4)*x ; Rational(11,4)*x
1/2x | \frac{x}{2} | x/2 ; x/2
\frac{3}{2}\pi | 1.5\pi | 3*pi/2 ; 3*pi/2
-\infty | \infty | differ
\infty | ∞ | same
(x-1)(x-2)(x-3) | x^3-6x^2+11x-6 | (x-1)*(x-2)*(x-3) ; x**3-6*x**2+11*x-6
\frac{1}{x}+\frac{1}{y} | \frac{x+y}{xy} | 1/x+1/y ; (x+y)/(x*y)
\frac{1}{x+y} | \frac1x+\frac1y | 1/(x+y) ; 1/x+1/y
5!! | 15 | 15 ; 15
(5!)! | 5!! | factorial(120) ; 15
17\frac{1}{2}\% | 0.175 | Rational(175,1000) ; Rational(175,1000)
\left\lfloor \frac{7}{2} \right\rfloor | 3 | 3 ; 3
\frac{\pi^2}{6} | 1.6449340668482264 | same
\sqrt{3}i | i\sqrt{3} | sqrt(3)*I ; I*sqrt(3)
-1+2i, -1-2i | -1 \pm 2i | FiniteSet(-1+2*I,-1-2*I) ; FiniteSet(-1+2*I,-1-2*I)
\{x : x > 3\} | (3,\infty) | refuse
\ln |x| + C | \ln|x|+C | same
e^{-1000}(1+x) | e^{-1001}(1+x) | exp(-1000)*(1+x) ; exp(-1001)*(1+x)
e^{-1000} | e^{-1001} | exp(-1000) ; exp(-1001)
1 - 10^{-50} | 1 | 1-Rational(1,10**50) ; 1
\sqrt{10^{60}+1} | 10^{30} | sqrt(10**60+1) ; 10**30
3.5 | 3\frac12 | Rational(7,2) ; 3+Rational(1,2)
-3\frac12 | -3.5 | -(3+Rational(1,2)) ; Rational('-3.5')
3\frac12 | \frac{3}{2} | 3+Rational(1,2) ; Rational(3,2)
3\frac1{23} | \frac{70}{23} | 3+Rational(1,23) ; Rational(70,23)
3\frac{1}2 | 3.5 | 3+Rational(1,2) ; Rational('3.5')
3\frac21 | 6 | 3*2 ; 6
x\frac12 | \frac{x}{2} | x*Rational(1,2) ; x/2
0.\overline{3} | \frac13 | Rational(1,3) ; Rational(1,3)
0.\overline{3} | 0.3 | Rational(1,3) ; Rational('0.3')
0.\overline{3} | \frac{3}{10} | Rational(1,3) ; Rational(3,10)
0.1\overline{6} | 1/6 | Rational(1,6) ; Rational(1,6)
0.58\overline{3} | 7/12 | Rational(58,100)+Rational(3,900) ; Rational(7,12)
0.\overline{142857} | \frac17 | Rational(142857,999999) ; Rational(1,7)
-1.\overline{09} | -\frac{12}{11} | -(1+Rational(9,99)) ; -Rational(12,11)
0.\overline{9} | 1 | Rational(9,9) ; 1
0.\overline{12} | 0.\overline{21} | Rational(12,99) ; Rational(21,99)
0.\overline{12} | 0.\overline{1212} | Rational(12,99) ; Rational(1212,9999)
0.\bar{6} | \frac23 | Rational(6,9) ; Rational(2,3)
(0.\overline{3},1) | (1/3,1) | same
(x,y)=(1,2) | (1,2) | same
(x,y)=(1,2) | (2,1) | differ
(a,b,c)=(1,2,3) | (1,2,3) | same
(x,y)=(1,3) | (x,y)=(1,2) | differ
\begin{vmatrix}1&2\\3&4\end{vmatrix} | -2 | refuse
\begin{pmatrix}1&2\\3&4\end{pmatrix} | -2 | differ
\textbf{(B)}\ 12 | 12 | same
\textbf{(B)}\ 12 | B | same
\textbf{(B)}\ 12 | 13 | differ
\textbf{(B) } 12 | C | differ
\text{(E) }\frac{1}{2} | 0.5 | same
(D) -3 | D | same
(D) -3 | -3 | same
(D) -3 | 3 | differ
(C)\quad 1,200 | 1200 | same
(A) and (B) | A | differ
(B) 12 | (C) 12 | differ
(B) 12 | (B) 12.0 | same
(B) 12 | (B) 13 | differ
2θ | \theta+\theta | 2*theta ; theta+theta
α+1 | \alpha+2 | alpha+1 ; alpha+2
25^\circ C | 25 | 25 ; 25
25^\circ\text{C} | 25 | 25 ; 25
25^{\circ}C | 25 | 25 ; 25
25\,^\circ\mathrm{C} | 25 | 25 ; 25
25 °C | 25 | 25 ; 25
25℃ | 25 | 25 ; 25
25 \degree C | 25 | 25 ; 25
25 degrees Celsius | 25^\circ C | same
-40^\circ F | -40 | -40 ; -40
98.6^\circ\text{F} | 98.6 | Rational('98.6') ; Rational('98.6')
25^\circ C | 26 | 25 ; 26
25^\circ C | 26^\circ C | 25 ; 26
25^\circ C | 77^\circ F | refuse
25^\circ C | 25^\circ F | refuse
T = 25^\circ C | 25 | 25 ; 25
25^\circ C, 30^\circ C | 30, 25 | FiniteSet(25,30) ; FiniteSet(30,25)
\frac{1}{2}^\circ C | 0.5 | Rational(1,2) ; Rational(1,2)
300 K | 300 | 300 ; 300
10 m/s | 10 | 10 ; 10
10 m/s | 10\text{ m/s} | same
10 m/s | 10 meters per second | same
10 m s^{-1} | 10 m/s | same
10 m s⁻¹ | 10 | 10 ; 10
10 m/s^2 | 10 | 10 ; 10
9.8 m/s² | 9.8 | Rational('9.8') ; Rational('9.8')
9.8 m/s² | 9.8 m/s | refuse
10\ \mathrm{m/s} | 10 | 10 ; 10
10 \frac{\text{m}}{\text{s}} | 10 m/s | same
10 \frac{m}{s} | 10 | 10 ; 10
10m/s | 10 | 10 ; 10
10 m/s | 11 | 10 ; 11
10 m/s | 11 m/s | 10 ; 11
10 m/s | 10 km/h | refuse
10 m/s | 10 m | refuse
10 m/s | \frac{10m}{s} | 10*m/s ; 10*m/s
v = 10 m/s | 10 | 10 ; 10
\frac{25}{3} m/s | \frac{25}{3} | Rational(25,3) ; Rational(25,3)
50 km/h | 50 | 50 ; 50
50 km/h | 50 kph | same
5 kg m/s^2 | 5 | 5 ; 5
5 J/(kg K) | 5 | 5 ; 5
5 N | 5 | 5 ; 5
12 V | 12 | 12 ; 12
60 W | 61 | 60 ; 61
440 Hz | 440 | 440 ; 440
3 N m | 3 | refuse
5m | 5 | refuse
4s | 4 | refuse
4s | 16 | 4*s ; 16
5m | m5 | refuse
5 m | 5m | 5*m ; 5*m
2 m n | 2 | 2*m*n ; 2
3n | 3 | 3*n ; 3
\frac{1}{2} m | \frac{m}{2} | m/2 ; m/2
\frac{1}{2} m | \frac12 | refuse
\frac{1}{2} m v^2 | \frac{mv^2}{2} | m*v**2/2 ; m*v**2/2
5\text{ mW} | 5\text{ MW} | refuse
5 ft 3 in | 5 | refuse
5 cm - 3 cm | 5 | refuse
3 square meters | 3 m^2 | same
3 m^2 | 3 | 3 ; 3
12 feet squared | 12 ft² | same
12 cm² | 12 cm^2 | same
12 cm² | 12 cm | refuse
12 cm² | 12 | 12 ; 12
2 \Omega | 2 | 2 ; 2
x+y=7 | 7 | differ
x - y = 2 | 2 | differ
xy = 12 | 12 | differ
xyz=6 | 6 | differ
2x = 14 | 14 | differ
2x = 14 | 7 | differ
x^2 = 9 | 9 | differ
|x| = 5 | 5 | differ
\sqrt{x} = 3 | 3 | differ
\frac{x}{y} = 3 | 3 | differ
n! = 120 | 120 | differ
a + b = 3 + 4 = 7 | 7 | differ
7 = x + y | 7 | differ
x(y+1) = 12 | 12 | differ
x+y=7 | y + x = 7 | same
x+y=7 | x+y=8 | differ
x+y=7 | 2x+2y=14 | same
xy = 12 | yx = 12 | same
AB = 5 | 5 | same
PQ = 30 | 30 | same
f(2) = 5 | 5 | same
P(A) = \frac12 | 0.5 | same
x_1 = 4 | 4 | same
\theta = \frac{\pi}{6} | \frac{\pi}{6} | same
x\in\{-3,3\} | -3, 3 | FiniteSet(-3,3) ; FiniteSet(-3,3)
x \in \{-3, 3\} | 3,-3 | FiniteSet(-3,3) ; FiniteSet(3,-3)
x ∈ {−3, 3} | -3, 3 | FiniteSet(-3,3) ; FiniteSet(-3,3)
x\in\{-3,3\} | \pm 3 | FiniteSet(-3,3) ; FiniteSet(3,-3)
x\in\{-3,3\} | \{3,-3\} | FiniteSet(-3,3) ; FiniteSet(3,-3)
x\in\{-3,3\} | x = -3 \text{ or } x = 3 | FiniteSet(-3,3) ; FiniteSet(-3,3)
x\in\{-3,3\} | x=3, x=-3 | FiniteSet(-3,3) ; FiniteSet(-3,3)
x\in\{-3,3\} | 3 | FiniteSet(-3,3) ; FiniteSet(3)
x\in\{-3,3\} | -3, 4 | FiniteSet(-3,3) ; FiniteSet(-3,4)
x\in\{-3,3\} | (-3,3) | FiniteSet(-3,3) ; I_(-3,3,True,True)
x\in\{1,2\} | x\in\{1,2,3\} | FiniteSet(1,2) ; FiniteSet(1,2,3)
x\in\{1,1,2\} | 1, 2 | FiniteSet(1,2) ; FiniteSet(1,2)
n \in \{5\} | 5 | same
x \in \{\sqrt2, -\sqrt2\} | \pm\sqrt{2} | FiniteSet(sqrt(2),-sqrt(2)) ; FiniteSet(sqrt(2),-sqrt(2))
x \in \emptyset | no solution | same
{1, 2, 3} | \{3,2,1\} | FiniteSet(1,2,3) ; FiniteSet(1,2,3)
{1, 2} | 3 | FiniteSet(1,2) ; FiniteSet(3)
\binom{n+1}{2} | \frac{n(n+1)}{2} | binomial(n+1,2) ; n*(n+1)/2
\binom{n}{2} | \frac{n(n-1)}{2} | binomial(n,2) ; n*(n-1)/2
\binom{n}{3} | \frac{n(n-1)(n-2)}{6} | binomial(n,3) ; n*(n-1)*(n-2)/6
\binom{n}{1} | n | binomial(n,1) ; n
\binom{n}{0} | 1 | 1 ; 1
\binom{n}{2} | \binom{n+1}{2} | binomial(n,2) ; binomial(n+1,2)
\binom{n+1}{2} | \frac{n^2}{2} | binomial(n+1,2) ; n**2/2
\binom{n}{k} | \binom{n}{n-k} | gamma(n+1)/gamma(k+1)/gamma(n-k+1) ; gamma(n+1)/gamma(n-k+1)/gamma(k+1)
\binom{n}{k} | \binom{k}{n} | gamma(n+1)/gamma(k+1)/gamma(n-k+1) ; gamma(k+1)/gamma(n+1)/gamma(k-n+1)
\binom{n}{k} | \frac{n!}{k!(n-k)!} | gamma(n+1)/gamma(k+1)/gamma(n-k+1) ; factorial(n)/factorial(k)/factorial(n-k)
\binom{n}{k}+\binom{n}{k+1} | \binom{n+1}{k+1} | gamma(n+1)/gamma(k+1)/gamma(n-k+1)+gamma(n+1)/gamma(k+2)/gamma(n-k) ; gamma(n+2)/gamma(k+2)/gamma(n-k+1)
\binom{2n}{n} | \frac{(2n)!}{n!n!} | gamma(2*n+1)/gamma(n+1)**2 ; factorial(2*n)/factorial(n)**2
\binom{2n}{n} | 4^n | gamma(2*n+1)/gamma(n+1)**2 ; 4**n
(n+1)! | (n+1)n! | factorial(n+1) ; (n+1)*factorial(n)
\frac{(n+1)!}{n!} | n+1 | factorial(n+1)/factorial(n) ; n+1
n! | n(n-1)! | factorial(n) ; n*factorial(n-1)
n! | (n-1)! | factorial(n) ; factorial(n-1)
{n \choose 2} | \frac{n^2-n}{2} | binomial(n,2) ; (n**2-n)/2
\binom{10}{3} | \binom{10}{7} | 120 ; 120
10 \choose 3 | 120 | binomial(10,3) ; 120
10\choose3 | \binom{10}{3} | binomial(10,3) ; binomial(10,3)
10 \choose 3 | 30 | binomial(10,3) ; 30
n+1 \choose 2 | \frac{n(n+1)}{2} | binomial(n+1,2) ; n*(n+1)/2
n \choose 2 | \binom{n}{2} | binomial(n,2) ; binomial(n,2)
6 \choose 3 ways | 20 | binomial(6,3) ; 20
x = 5 \choose 2 | 10 | binomial(5,2) ; 10
\left(5 \choose 2\right) | 10 | binomial(5,2) ; 10
2{10 \choose 3} | 240 | 2*binomial(10,3) ; 240
1 \over 2 | 0.5 | Rational(1,2) ; Rational(1,2)
-1 \over 2 | -\frac12 | -Rational(1,2) ; -Rational(1,2)
a+b \over 2 | \frac{a+b}{2} | (a+b)/2 ; (a+b)/2
a+b \over 2 | a+\frac{b}{2} | (a+b)/2 ; a+b/2
1 \over 2 \over 3 | 1 | refuse
\choose 3 | 3 | refuse
2⁻¹ | \frac12 | Rational(1,2) ; Rational(1,2)
10⁻³ | 0.001 | Rational(1,1000) ; Rational(1,1000)
2¹⁰ | 1024 | 1024 ; 1024
2¹⁰ | 2 | 1024 ; 2
10¹² | 10^{12} | 10**12 ; 10**12
2³⁴ | 2^{34} | 2**34 ; 2**34
2³⁴ | 2^{81} | 2**34 ; 2**81
x²+1 | x^2+1 | x**2+1 ; x**2+1
xⁿ | x^n | same
2ⁿ⁺¹ | 2\cdot 2^n | 2**(n+1) ; 2*2**n
e⁻ˣ | e^{-x} | exp(-x) ; exp(-x)
e⁻ˣ | \frac{1}{e^x} | exp(-x) ; exp(-x)
(x+1)⁻² | \frac{1}{(x+1)^2} | (x+1)**-2 ; (x+1)**-2
3×10⁸ | 300000000 | 3*10**8 ; 3*10**8
1.5×10⁻⁴ | 0.00015 | Rational('0.00015') ; Rational('0.00015')
6.02×10²³ | 6.02 \times 10^{23} | 602*10**21 ; 602*10**21
a₁+a₂ | a_1+a_2 | x_1+x_2 ; x_1+x_2
a₁+a₂ | a_1+a_3 | x_1+x_2 ; x_1+k
x₁₂ | x_{12} | same
x₁² | x_1^2 | x_1**2 ; x_1**2
aₙ | a_n | same
1011₂ | 1011_2 | 11 ; 11
1011₂ | 1011 | 11 ; 1011
1A₁₆ | 1a_{16} | 26 ; 26
log₂8 | 3 | 3 ; 3
¹⁄₂ | 0.5 | Rational(1,2) ; Rational(1,2)
3¹⁄₂ | 3.5 | Rational(7,2) ; Rational(7,2)
²/₃ | \frac23 | Rational(2,3) ; Rational(2,3)
² | 2 | refuse
⅐ | \frac17 | Rational(1,7) ; Rational(1,7)
3 dozen | 3 | refuse
3 dozen | 36 | same
5 million | 5 | refuse
5 million | 5000000 | same
$5 million | 5,000,000 | same
1.5 million dollars | 1500000 | same
2 hundred | 200 | same
2 thousand | 2 | refuse
2 thirds | 2 | refuse
3 halves | 3 | refuse
5 squared | 5 | refuse
5 squared | 25 | refuse
2 cubed | 2 | refuse
5 factorial | 5 | refuse
3 over 4 | 3 | refuse
3 divided by 4 | 3 | refuse
5 minus 2 | 5 | refuse
5 plus 2 | 5 | refuse
5 below zero | 5 | refuse
5 degrees below zero | 5 | refuse
5 percent | 0.05 | same
5 percent | 5 | same
5 percent | 5\% | same
\binom{n}{2} | \binom{n}{n-2} | same
10 \choose 3 | 3 \choose 10 | differ
10 m/s | 10 s/m | refuse
5 m | 5 g | refuse
25^\circ C | 25 K | refuse
2 and a half | 2 | refuse
5 more than x | 5 | refuse
5 times x | 5 | differ
5 less | 5 | same
4 quarters | 4 | same
7 tenths | 0.7 | refuse
7 negative | 7 | refuse
12 mod 5 | 12 | refuse
12 in base 3 | 12 | refuse
12 base 3 | 12 | refuse
3 choose 2 | 3 | same
10 choose 3 | 120 | same
5 K | 5 | same
5 apples and 3 pears | 5 | differ
6 or 7 | 6 | differ
5 hours | 5 minutes | refuse
5 hundredths | 5 | refuse
2 pairs | 2 | same
3 to 2 | 3 | refuse
3 out of 4 | 3 | refuse
3 in 4 | 3 | refuse
1 in 10 | 0.1 | refuse
5 feet tall | 5 | same
2 inverse | 2 | refuse
4 root 2 | 4 | refuse
square root of 4 | 4 | refuse
5 approx | 5 | same
5 (mod 7) | 5 | refuse
5 \pmod 7 | 5 | refuse
5 \text{ mod } 7 | 5 | refuse
12\text{ (base 3)} | 12 | refuse
3 \text{ remainder } 1 | 3 | refuse
3 R 1 | 3 | refuse
0x10 | 10 | refuse
x^2 cm^2 | x^2 | refuse
1,000 km | 1000 | same
3 x 10^4 | 30000 | refuse
\frac{3}{4} of x | \frac34 | refuse
2 \text{ times } 3 | 6 | same
2 \text{ less than } x | 2 | refuse
5 o'clock | 5 | refuse
5:30 pm | 5:30 am | refuse
5 pm | 5 am | refuse
10^5 m | 10^5 | same
-5^\circ C | 5 | differ
-5^\circ C | -5 | same
(3,4) m | (3,4) | refuse
2^3 N | 8 | same
\pm 5 m | \pm 5 | same
x=3 m | 3 | same
5m^2 | 5 | refuse
AB | BA | same
2√3 cm | 2\sqrt{3} | same
x ≥ 5 cm | x \ge 5 | refuse
3 times | 3 | same
5 feet squared | 5 ft^2 | same
3 times 4 | 12 | same
5 third graders | 5 | same
2 billion | 2\times10^9 | same
5 million | 6000000 | differ
3 dozen eggs | 36 | same
8⁻¹\text{ N} | \frac18 | Rational(1,8) ; Rational(1,8)
(4^{4} - \frac{2}{7})\text{ N} | \frac{1790}{7} | 4**4-Rational(2,7) ; Rational(1790,7)
\frac{3}{2}\text{J} | 1.5 | Rational(3,2) ; Rational(3,2)
5\text{ W} | 6 | 5 ; 6
"""


def equal(left, right):
    one, other = eval(left), eval(right)
    if isinstance(one, (sympy.Set, sympy.Tuple)) or isinstance(one, sympy.MatrixBase):
        if isinstance(one, sympy.MatrixBase):
            return one.shape == other.shape and bool(sympy.simplify(one - other).is_zero_matrix)
        return one == other or sympy.simplify(one) == sympy.simplify(other)
    if one == other:
        return True
    difference = sympify(one) - sympify(other)
    if not difference.has(gamma, factorial, binomial):
        difference = sympy.expand(difference)
    names = sorted(difference.free_symbols, key=str)
    for signs in ((1, -1, 1), (-1, 1, -1)) if names else ((1,),):
        at = {name: signs[i % 3] * Rational(37 * (i + 1), 29) for i, name in enumerate(names)}
        value = difference.subs(at)
        if value.is_Rational:
            if value != 0:
                return False
        elif value.has(gamma, factorial, binomial):  # of no whole numbers: no closed form
            if abs(value.evalf(200)) > Float("1e-150", 20):
                return False
        elif not value.equals(0) and abs(value.evalf(900, maxn=4000)) > Float("1e-800", 20):
            return False
    return True


def main():
    for line in PAIRS.strip().split("\n"):
        columns = line.split(" | ")  # |x| has no blanks around its bars
        if len(columns) != 3:
            raise SystemExit("three columns expected: " + line)
        answer, gold, meaning = columns
        if meaning in ("same", "differ", "refuse"):
            verdict = {"same": True, "differ": False, "refuse": None}[meaning]
            how = "by reading"
        else:
            left, right = meaning.split(" ; ")
            verdict, how = equal(left, right), "sympy"
        print(json.dumps({"answer": answer, "gold": gold, "equal": verdict, "how": how},
                         ensure_ascii=False))


main()
