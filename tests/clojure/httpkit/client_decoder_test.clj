(ns httpkit.client-decoder-test
  "The public `Decoder`: which events, which state, what is left."
  (:require [clojure.test :refer [are deftest is testing]]
            [httpkit.wire :refer [latin1]])
  (:import [java.nio ByteBuffer]
           [org.httpkit HttpMethod HttpStatus HttpVersion LineTooLargeException ProtocolException]
           [org.httpkit.client AbortException Decoder IRespListener]))

(defn- recorder [events]
  (reify IRespListener
    (onInitialLineReceived [_ version status] (swap! events conj [:init version status]))
    (onHeadersReceived [_ headers] (swap! events conj [:headers (into {} headers)]))
    (onBodyReceived [_ buf n] (swap! events conj [:body (String. buf 0 n "ISO-8859-1")]))
    (onCompleted [_] (swap! events conj :completed))
    (onThrowable [_ t] (swap! events conj [:thrown t]))))

(defn- decode
  "[events state-name bytes-left] of the pieces; a thrown exception's class instead of the state."
  [method & pieces]
  (let [events  (atom [])
        decoder (Decoder. (recorder events) method)
        left    (atom 0)
        state   (try
                  (reduce (fn [_ piece]
                            (let [buffer (ByteBuffer/wrap (latin1 piece))
                                  state  (.decode decoder buffer)]
                              (reset! left (.remaining buffer))
                              (str state)))
                          nil pieces)
                  (catch Exception e (class e)))]
    [@events state @left]))

(def ^:private init [:init HttpVersion/HTTP_1_1 HttpStatus/OK])

(deftest events-and-states
  (are [input expected] (= expected (decode HttpMethod/GET input))
    ""                                  [[] "READ_INITIAL" 0]
    "HTTP/1.1 200 OK"                   [[] "READ_INITIAL" 0]
    "HTTP/1.1 200\r\n"                  [[init] "READ_HEADER" 0]
    "HTTP/1.1 200 \r\n"                 [[init] "READ_HEADER" 0]
    "HTTP/1.1 200 OK\r\n\r\n"           [[init [:headers {}]] "READ_VARIABLE_LENGTH_CONTENT" 0]
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n..."
    [[init [:headers {"content-length" "0"}]] "ALL_READ" 3]
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    [[init [:headers {"content-length" "1"}]] "READ_FIXED_LENGTH_CONTENT" 0]
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n..."
    [[init [:headers {"content-length" "1"}] [:body "."]] "ALL_READ" 2]
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" [[init] "READ_HEADER" 0]
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: t\r\n\r\n"
    [[init [:headers {"transfer-encoding" "chunked"}] [:body "ok"]
      [:headers {"transfer-encoding" "chunked" "x" "t"}]] "ALL_READ" 0]))

(deftest bodyless-responses
  (is (= [[init [:headers {"content-length" "3"}]] "ALL_READ" 3]
         (decode HttpMethod/HEAD "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n...")))
  (is (= [[init [:headers {"content-length" "zz"}]] "ALL_READ" 0]
         (decode HttpMethod/HEAD "HTTP/1.1 200 OK\r\nContent-Length: zz\r\n\r\n")))
  (is (= "ALL_READ" (second (decode HttpMethod/GET "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n")))))

(deftest faults-are-thrown-after-what-came-before
  (is (= [[init] ProtocolException]
         (butlast (decode HttpMethod/GET "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"))))
  (are [header] (= [[init :headers] ProtocolException]
                   (let [[events state] (decode HttpMethod/GET (str "HTTP/1.1 200 OK\r\n" header "\r\n\r\n"))]
                     [[(first events) (first (second events))] state]))
    "Content-Length: zz"
    "Transfer-Encoding: gzip")
  (is (= [[] LineTooLargeException]
         (butlast (decode HttpMethod/GET (str "HTTP/1.1 200 " (apply str (repeat 17000 "x")) "\r\n")))))
  (is (= [[] ProtocolException] (butlast (decode HttpMethod/GET "garbage\r\n")))))

(deftest any-split-gives-the-same
  (let [input "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        joined (fn [[events state]]
                 [(remove #(= :body (first %)) events) (apply str (keep #(when (= :body (first %)) (second %)) events)) state])
        whole (joined (decode HttpMethod/GET input))]
    (is (= "abcde" (second whole)))
    (doseq [cut (range 1 (count input))]
      (is (= whole (joined (decode HttpMethod/GET (subs input 0 cut) (subs input cut)))) cut))
    (is (= whole (joined (apply decode HttpMethod/GET (map str input)))))))

(deftest listeners-may-abort
  (let [abort   (AbortException. "stop")
        decoder (Decoder. (reify IRespListener
                            (onInitialLineReceived [_ _ _] (throw abort))
                            (onHeadersReceived [_ _])
                            (onBodyReceived [_ _ _])
                            (onCompleted [_])
                            (onThrowable [_ _]))
                          HttpMethod/GET)]
    (is (identical? abort (try (.decode decoder (ByteBuffer/wrap (latin1 "HTTP/1.1 200 OK\r\n\r\n")))
                               (catch AbortException e e))))))
