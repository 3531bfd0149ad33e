(ns httpkit.client-room-test
  "How much of a response the client takes into memory."
  (:require [clojure.edn         :as edn]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is testing]]
            [httpkit.client-peer :as peer]
            [httpkit.subprocess  :as subprocess]
            [org.httpkit.client  :as client])
  (:import (java.io ByteArrayOutputStream InputStream IOException)
           (java.util.zip GZIPOutputStream)
           (org.httpkit ContentTooLargeException)
           (org.httpkit.client AbortException IFilter)
           (org.httpkit.jni NativeLibrary)))

(set! *warn-on-reflection* true)

(defn- gzipped ^bytes [^long n]
  (let [out (ByteArrayOutputStream.)]
    (with-open [gz (GZIPOutputStream. out)]
      (dotimes [_ (quot n 65536)] (.write gz (byte-array 65536)))
      (.write gz (byte-array (rem n 65536))))
    (.toByteArray out)))

(def ^:private any-filter
  (reify IFilter
    (^boolean accept [_ ^java.util.Map _] true)
    (^boolean accept [_ ^org.httpkit.DynamicBytes _] true)))

(defn- serving
  "Answers each request with the head lines and the body."
  [head ^bytes body]
  (fn [conn]
    (try
      (while (peer/read-request! conn)
        (peer/send! conn "HTTP/1.1 200 OK\r\n" head "\r\n")
        (peer/send-bytes! conn body))
      (catch IOException _)))) ; the client hangs up

(defn- outcome
  "Number of body bytes, or class and message of the error."
  [{:keys [body error]}]
  (cond
    error                        [(class error) (ex-message error)]
    (string? body)               (count body)
    (bytes? body)                (alength ^bytes body)
    (instance? InputStream body) (try (alength (.readAllBytes ^InputStream body))
                                      (catch IOException e [(class (ex-cause e)) (ex-message (ex-cause e))]))
    :else                        (.length ^org.httpkit.DynamicBytes body)))

(def ^:private over-ten [ContentTooLargeException "Response body is longer than max-response-bytes: 10"])

(deftest a-limit-of-bytes-counts-for-every-kind-of-response
  (doseq [[about head coded?] [["announced" "Content-Length: %d\r\n" false]
                               ["up to the end of the connection" "X: %d\r\n" false]
                               ["compressed" "Content-Encoding: gzip\r\nContent-Length: %d\r\n" true]]
          as     [:auto :text :byte-array :stream :raw-byte-array :none]
          filter [IFilter/ACCEPT_ALL any-filter (client/max-body-filter 100)]
          :when (not (and coded? (#{:raw-byte-array :none} as)))]
    (testing (str about " " as " " filter)
      (doseq [[n expected] [[0 0] [10 10] [11 over-ten]]
              :let [body (if coded? (gzipped n) (byte-array n))]]
        (peer/with-peer [p (fn [conn]
                             (peer/read-request! conn)
                             (peer/send! conn "HTTP/1.1 200 OK\r\n" (format head (alength ^bytes body)) "\r\n")
                             (peer/send-bytes! conn body)
                             (peer/close! conn))]
          (is (= expected (outcome @(client/get (:url p) {:as as :filter filter :max-response-bytes 10
                                                          :timeout 10000})))))))))

(deftest bytes-as-received-are-counted-where-they-are-handed-out-so
  (let [body (gzipped 100000)
        n    (alength body)]
    (peer/with-peer [p (serving (str "Content-Encoding: gzip\r\nContent-Length: " n "\r\n") body)]
      (doseq [as [:raw-byte-array :none]]
        (is (= n (outcome @(client/get (:url p) {:as as :max-response-bytes n}))))
        (is (= ContentTooLargeException (first (outcome @(client/get (:url p) {:as as :max-response-bytes (dec n)})))))))))

(deftest a-limit-outlives-redirects
  (peer/with-peer [p (peer/answering (fn [{:keys [line]}]
                                       (if (str/includes? line "/next")
                                         "12345678901"
                                         "HTTP/1.1 302 X\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n")))]
    (is (= over-ten (outcome @(client/get (:url p) {:max-response-bytes 10}))))))

(defn- in-a-small-heap
  "The last line that the script prints in a JVM with 96 MB of heap; `url` is the peer's, `grown` the most memory that
  the process ever had besides what it has now, in MB."
  [url script]
  (let [{:keys [out]} (subprocess/run
                       (pr-str (list 'do
                                     '(require '[org.httpkit.client :as client])
                                     '(defn highest []
                                        (let [status (String. (java.nio.file.Files/readAllBytes
                                                               (java.nio.file.Paths/get "/proc/self/status" (make-array String 0))))]
                                          (quot (Long/parseLong (second (re-find #"VmHWM:\s+(\d+) kB" status))) 1024)))
                                     (list 'let ['url url] script)
                                     '(flush)
                                     '(System/exit 0)))
                       :jvm-args ["-Xmx96m" "-XX:+UseSerialGC" "--enable-native-access=ALL-UNNAMED"
                                  ;; Not unpacked again: a debug build is half as big as that heap.
                                  (str "-Dhttp-kit.native.path=" (get (NativeLibrary/info) "file"))])]
    (try (edn/read-string (last (str/split-lines out)))
         (catch RuntimeException _ {:out out}))))

(deftest a-response-that-expands-takes-no-more-memory-than-the-heap-has-room-for
  (let [body (gzipped (* 600 1024 1024))]
    (peer/with-peer [p (serving (str "Content-Encoding: gzip\r\nContent-Length: " (alength body) "\r\n") body)]
      (let [{:keys [errors grown small] :as all}
            (in-a-small-heap (:url p)
                             '(let [any    (proxy [org.httpkit.client.IFilter] [] (accept [_] true))
                                    get    #(:error @(client/get url (merge {:timeout 60000} %)))
                                    _      (get {:max-response-bytes 1}) ; loads classes
                                    before (highest)
                                    errors (mapv get [{} {:as :text} {:as :byte-array} {:filter any}])]
                                (prn {:errors (mapv (comp str class) errors)
                                      :grown  (- (highest) before)
                                      :small  (boolean (re-find #"room for \d+ bytes" (ex-message (first errors))))})))]
        (is (= (repeat 4 "class org.httpkit.ContentTooLargeException") errors) (pr-str all))
        (is (true? small) "the error names the limit")
        (is (< (long (or grown Long/MAX_VALUE)) 250) (pr-str all))))))

(deftest a-response-that-is-announced-longer-than-the-heap-fails-at-once
  (peer/with-peer [p (fn [conn]
                       (peer/read-request! conn)
                       (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nabc")
                       (peer/await-end! conn))]
    (is (= "class org.httpkit.ContentTooLargeException"
           (in-a-small-heap (:url p) '(prn (str (class (:error @(client/get url {:timeout 60000}))))))))))

(defn- endless
  "Answers with the head lines and chunks without end."
  [head]
  (let [chunk (peer/latin1 (str "10000\r\n" (apply str (repeat 0x10000 "0")) "\r\n"))]
    (fn [conn]
      (try
        (peer/read-request! conn)
        (peer/send! conn "HTTP/1.1 200 OK\r\n" head "Transfer-Encoding: chunked\r\n\r\n")
        (while true (peer/send-bytes! conn chunk))
        (catch IOException _))))) ; the client hangs up

(deftest what-a-filter-is-shown-takes-no-more-memory-than-the-heap-has-room-for
  (doseq [[about head options] [["as it is" "" [{} {:as :stream} {:as :none}]]
                                ["compressed" "Content-Encoding: gzip\r\n" [{} {:max-response-bytes 1000} {:as :byte-array}]]]]
    (testing about
      (peer/with-peer [p (endless head)]
        (is (= (repeat 3 "class org.httpkit.ContentTooLargeException")
               (in-a-small-heap (:url p)
                                (list 'let ['options options]
                                      '(let [any (proxy [org.httpkit.client.IFilter] [] (accept [_] true))
                                             get #(:error @(client/get url (merge {:filter any :timeout 60000} %)))]
                                         (prn (mapv (comp str class get) options)))))))))))

(defn- stalling
  "Answers with the head lines and a part of the body."
  [head ^bytes part]
  (fn [conn]
    (try
      (peer/read-request! conn)
      (peer/send! conn "HTTP/1.1 200 OK\r\n" head "\r\n")
      (peer/send-bytes! conn part)
      (peer/await-end! conn)
      (catch IOException _)))) ; the client hangs up

(deftest responses-that-filters-are-shown-share-the-room
  (let [eight (* 8 1024 1024)
        half  (peer/latin1 (str "1000000\r\n" (apply str (repeat eight "0"))))]
    (peer/with-peer [p (stalling "Transfer-Encoding: chunked\r\n" half)]
      (let [{:keys [held errors after] :as all}
            (in-a-small-heap (:url p)
                             '(let [eight    (* 8 1024 1024)
                                    received (fn [] ; begun, and held up with eight megabytes or failed
                                               (let [here   (promise)
                                                     any    (proxy [org.httpkit.client.IFilter] []
                                                              (accept [seen]
                                                                (when (and (instance? org.httpkit.DynamicBytes seen)
                                                                           (= eight (.length ^org.httpkit.DynamicBytes seen)))
                                                                  (deliver here true))
                                                                true))
                                                     result (client/get url {:filter any :timeout 60000}
                                                                        (fn [r] (deliver here true) r))]
                                                 (deref here 60000 nil)
                                                 result))
                                    results  (vec (repeatedly 20 received))
                                    failed   (filterv realized? results)
                                    held     (remove realized? results)]
                                (run! future-cancel held)
                                (run! deref results)
                                (prn {:held   (count held)
                                      :errors (mapv (comp str class :error deref) failed)
                                      :after  (realized? (received))})))]
        (is (<= 1 (long (or held 0)) 12) (pr-str all))
        (is (= #{"class org.httpkit.ContentTooLargeException"} (set errors)) (pr-str all))
        (is (false? after) "what they held is given back")))))

(defn- announcing [status n]
  (fn [conn]
    (peer/read-request! conn)
    (peer/send! conn "HTTP/1.1 " status " X\r\nContent-Length: " n "\r\n\r\n")
    (peer/await-end! conn)))

(deftest a-filter-does-not-delay-the-failure-of-a-response-that-is-announced-longer-than-its-limit
  (doseq [as [:byte-array :stream :none]]
    (peer/with-peer [p (announcing 200 11)]
      (is (= over-ten (outcome @(client/get (:url p) {:as as :filter any-filter :max-response-bytes 10 :timeout 10000})))))))

(deftest a-filter-decides-about-a-response-before-the-heap-does
  (let [megabyte (peer/latin1 (apply str (repeat 0x100000 "0")))]
    (peer/with-peer [p (stalling "Content-Length: 100000000000\r\n" megabyte)]
      (doseq [as     [:byte-array :stream :none]
              filter [(client/max-body-filter 1000)
                      (reify IFilter
                        (^boolean accept [_ ^java.util.Map _] true)
                        (^boolean accept [_ ^org.httpkit.DynamicBytes seen] (< (.length seen) 1000)))]]
        (is (= AbortException (first (outcome @(client/get (:url p) {:as as :filter filter :timeout 10000}))))
            [as filter])))))

(deftest a-length-without-a-body-exceeds-no-limit
  (doseq [[method status] [[:head 200] [:get 204] [:get 205] [:get 304]]]
    (testing [method status]
      (peer/with-peer [p (announcing status 1000000000)]
        (is (= status (:status @(client/request {:url (:url p) :method method :filter any-filter :max-response-bytes 10
                                                 :timeout 10000}))))))))

(deftest a-body-that-has-no-room-beside-its-string-is-too-large
  (let [n (* 45 1024 1024)]
    (peer/with-peer [p (serving (str "Content-Type: text/plain\r\nContent-Length: " n "\r\n") (byte-array n))]
      (is (= ["The heap has no memory for the response: Java heap space"
              "The heap has no memory for the response: Java heap space"
              n]
             (in-a-small-heap (:url p)
                              '(let [jvm   (Runtime/getRuntime)
                                     ;; The loop that delivered the response before may still hold its bytes.
                                     freed #(loop [left 500]
                                              (System/gc)
                                              (when (and (pos? left) (< 0x1800000 (- (.totalMemory jvm) (.freeMemory jvm))))
                                                (Thread/sleep 10)
                                                (recur (dec left))))
                                     get   (fn [& args] (freed) @(apply client/get url args))
                                     error (comp ex-message :error)]
                                 (prn [(error (get {:as :text :timeout 60000}))
                                       (error (get {:timeout 60000} identity))
                                       (let [{:keys [body error]} (get {:as :byte-array :timeout 60000})]
                                         (if body (alength ^bytes body) (ex-message error)))]))))))))
