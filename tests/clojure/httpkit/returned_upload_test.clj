(ns httpkit.returned-upload-test
  "Responses whose body is that of their request, which still arrives: what is the peer's fault is not the handler's."
  (:require [clojure.java.io     :as io]
            [clojure.string      :as str]
            [clojure.test        :refer [deftest is testing]]
            [httpkit.wire        :as wire]
            [org.httpkit.server  :as server]
            [ring.core.protocols :as protocols])
  (:import (java.io BufferedInputStream IOException InputStream OutputStream)
           (java.util.concurrent Executors)
           (org.httpkit ProtocolException)))

(set! *warn-on-reflection* true)

(def ^:private head "POST /up HTTP/1.1\r\nHost: h\r\n")

(def ^:private with-length (str head "Content-Length: 100\r\n\r\n"))

(def ^:private chunked (str head "Transfer-Encoding: chunked\r\n\r\n"))

(def ^:private half (str (str/join (repeat 49 "x")) "\n"))

(defn- a-chunk [^String text]
  (str (Long/toString (count text) 16) "\r\n" text "\r\n"))

(defn- lines [body] (map str (line-seq (io/reader body))))

(defn- writer [body-of]
  (reify protocols/StreamableResponseBody
    (write-body-to-stream [_ _ out]
      (with-open [^OutputStream out out] (io/copy (body-of) out)))))

(def ^:private returns
  "Bodies of responses, made of requests. Late ones ask for the upload while they are sent."
  {"the stream"           :body
   "another one"          #(BufferedInputStream. ^InputStream (:body %))
   "one beside a channel" #(do (:async-channel %) (:body %))
   "a seq"                #(lines (:body %))
   "a late seq"           #(lazy-seq (lines (:body %)))
   "a writer"             #(let [{:keys [body]} %] (writer (constantly body)))
   "a late writer"        #(writer (fn [] (:body %)))})

(def ^:private modes
  {"own threads"   (constantly {:allow-virtual? false :n-threads 4})
   "default"       (constantly {})
   "a user's pool" #(array-map :worker-pool (Executors/newFixedThreadPool 4))
   "asynchronous"  (constantly {:ring-async? true})})

(defn- returning [as-body {:keys [ring-async?]}]
  (let [response (fn [req] {:status 200 :body (as-body req)})]
    (if ring-async?
      (fn [req respond _] (respond (response req)))
      response)))

(defn- outcome
  "What `(exchange conn)` returned, and what was logged until the server had stopped."
  [as-body options exchange]
  (let [logged (promise)]
    [(wire/with-server [{:keys [port errors]} (returning as-body options) (merge {:request-buffer-size 10} options)]
       (deliver logged errors)
       (with-open [conn (wire/connect port)]
         (exchange conn)))
     (map second @@logged)]))

(defmacro ^:private in-all-ways [[as-body options] & body]
  `(doseq [[mode# options#] modes, [kind# ~as-body] returns]
     (testing (str mode# ", " kind#)
       (let [~options (options#)] ~@body))))

(deftest a-peer-that-sends-nothing-gets-a-408
  (in-all-ways [as-body options]
    (is (= [408 []]
           (outcome as-body (assoc options :body-timeout 200)
             (fn [conn]
               (wire/send! conn with-length)
               (:status (wire/answer conn))))))))

(deftest a-fault-behind-the-head-cuts-the-response
  (doseq [[fault more begins rest] [["a stall"           {:body-timeout 200} with-length ""]
                                    ["broken chunks"     {}                  chunked     "zz\r\n"]
                                    ["more than allowed" {:max-body 60}      chunked     (a-chunk half)]]]
    (testing fault
      (in-all-ways [as-body options]
        (is (= [[200 :truncated] []]
               (outcome as-body (merge options {:body-buffer-size 0} more)
                 (fn [conn]
                   (wire/send! conn begins (if (= begins chunked) (a-chunk half) half))
                   (let [{:keys [status]} (wire/read-head conn)]
                     (wire/send! conn rest)
                     [status (peek (wire/read-chunks conn))])))))))))

(deftest a-peer-that-leaves-is-not-logged
  (doseq [[how leave!] {"closes" #(.close ^java.io.Closeable %) "half-closes" wire/half-close! "resets" wire/reset!!}
          sent         ["" half]]
    (testing (str "it " how " after " (count sent) " bytes")
      (in-all-ways [as-body options]
        (let [began (promise)]
          (is (= [:left []]
                 (outcome (fn [req] (deliver began true) (as-body req)) options
                   (fn [conn]
                     (wire/send! conn with-length sent)
                     (is (deref began wire/patience-ms false))
                     (leave! conn)
                     :left)))))))))

(deftest an-error-of-the-body-itself-is-logged
  (in-all-ways [as-body options]
    (let [error (ex-info "own" {})]
      (is (= [500 [error]]
             (outcome (fn [req]
                        (as-body (assoc req :body (proxy [InputStream] []
                                                    (read ([] (throw error)) ([_] (throw error)) ([_ _ _] (throw error)))))))
               options
               (fn [conn]
                 (wire/send! conn with-length half half)
                 (:status (wire/answer conn)))))))))

(deftest a-read-behind-our-own-500-says-that-the-exchange-is-over
  (doseq [[about response] {"a body"       (constantly {:body :keyword})
                            "headers"      (constantly {:headers 5 :body "x"})
                            "an exception" #(throw (ex-info "own" {}))}
          async?           [false true]]
    (testing (str about (when async? ", asynchronous"))
      (let [read (promise)
            app  (fn [{:keys [body]}]
                   (future (deliver read (try (slurp body) (catch Throwable e [(class e) (ex-message e)]))))
                   (response))]
        (wire/with-server [{:keys [port]}
                           (if async? (fn [req respond _] (respond (app req))) app)
                           {:request-buffer-size 10 :ring-async? async?}]
          (with-open [conn (wire/connect port)]
            (wire/send! conn chunked (a-chunk half))
            (is (= 500 (:status (wire/answer conn))))
            (is (= [IOException "the exchange is over"] (deref read wire/patience-ms :never)))))))))

(defn- on-channel [act]
  (fn [req] (server/as-channel req {:on-open act})))

(defn- read-of [f]
  (try (f) (catch Throwable e [(class e) (ex-message e)])))

(def ^:private takes
  "Functions of a request, called by its handler, that return a function that reads the upload."
  {"before"                 (fn [{:keys [body]}] #(slurp body))
   "late"                   (fn [req] #(slurp (:body req)))
   "by a reader that waits" (fn [{:keys [body]}]
                              (let [read (future (read-of #(slurp body)))]
                                #(deref read wire/patience-ms :never)))})

(deftest a-read-behind-a-response-says-that-the-exchange-is-over
  (doseq [[about respond] {"a map"                  (constantly {:status 200 :body "ab"})
                           "a map beside a channel" #(do (:async-channel %) {:status 200 :body "ab"})
                           "a seq"                  (constantly {:status 200 :body (list "a" "b")})
                           "a send"                 (on-channel #(server/send! % "ab"))
                           "a stream"               (on-channel #(do (server/send! % "a" false) (server/send! % "b")))
                           "a close"                (on-channel server/close)
                           "an exception"           (fn [_] (throw (ex-info "own" {})))}
          [taken take]    takes]
    (testing (str about ", taken " taken)
      (let [upload (promise)]
        (wire/with-server [{:keys [port]} (fn [req] (deliver upload (take req)) (respond req)) {:request-buffer-size 10}]
          (with-open [conn (wire/connect port)]
            (wire/send! conn chunked (a-chunk half))
            (is (:status (wire/answer conn)))
            (is (= [IOException "the exchange is over"] (read-of @upload)))))))))

(deftest a-read-behind-a-peer-that-has-left-says-that-the-body-ended-early
  (doseq [[about act returned] [["nothing sent" (fn [_])]
                                ["a stream" #(server/send! % "a" false)]
                                ["a stream, and a map that is ignored" #(server/send! % "a" false) {:status 200}]]
          [taken take]         takes]
    (testing (str about ", taken " taken)
      (let [[upload acted closed] (repeatedly promise)]
        (wire/with-server [{:keys [port errors]}
                           (fn [req]
                             (deliver upload (take req))
                             (let [response (server/as-channel req {:on-open  (fn [ch] (act ch) (deliver acted true))
                                                                    :on-close (fn [_ _] (deliver closed true))})]
                               (or returned response)))
                           {:request-buffer-size 10}]
          (with-open [conn (wire/connect port)]
            (wire/send! conn (str chunked (a-chunk half)))
            (is (fn? (deref upload wire/patience-ms nil)))
            (is (deref acted wire/patience-ms false)) ; or the map is a response, not ignored
            (wire/reset!! conn)
            (is (deref closed wire/patience-ms false))
            (is (= [ProtocolException "request body ended early: 50 bytes"] (read-of @upload))))
          (is (= [] @errors)))))))

(deftest a-header-that-reads-an-upload-which-another-thread-reads-ends-with-its-peer
  (let [[drained begun sends reads] (repeatedly promise)
        all (fn [^InputStream body]
              (.readNBytes body (count half))
              (deliver drained true)
              (.read body))]
    (wire/with-server [{:keys [port]}
                       (fn [{:keys [^InputStream body] :as req}]
                         (server/as-channel req
                           {:on-open (fn [ch]
                                       (future (deliver reads (read-of #(all body))))
                                       @drained
                                       (future
                                         (let [value (lazy-seq (deliver begun true) [(str (.read body))])]
                                           (deliver sends (read-of #(server/send! ch {:headers {"X" value} :body "x"}))))))}))
                       {:request-buffer-size 10}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn chunked (a-chunk half))
        (is (deref begun wire/patience-ms false))
        (wire/reset!! conn)
        (is (not= :never (deref reads wire/patience-ms :never)))
        (is (not= :never (deref sends wire/patience-ms :never)))))))
