(ns httpkit.client-wrong-options-test
  "What one reads who gave the client a wrong option or a misspelled name; and what was always allowed."
  (:require [clojure.string :as str]
            [clojure.test :refer [are deftest is testing]]
            [httpkit.client-peer :as peer]
            [org.httpkit.client :as client]
            [org.httpkit.options.client :as client-options]
            [org.httpkit.utils :as utils])
  (:import [java.io ByteArrayOutputStream File PrintStream]
           [java.net ConnectException InetSocketAddress URI]
           [java.util ArrayList HashMap]
           [java.util.concurrent ExecutorService Executors]
           [javax.net.ssl SSLContext]))

(def ^:private ok (peer/answering (constantly "ok")))

(defn- thrown
  "[class message] of what `f` throws, or what it returns."
  [f]
  (try (f)
       (catch Throwable t [(class t) (.getMessage t)])))

(defn- stderr-of [f]
  (let [err  System/err
        text (ByteArrayOutputStream.)]
    (System/setErr (PrintStream. text true))
    (try (f) (finally (System/setErr err)))
    (str text)))

;; Values

(def ^:private msecs "msecs, an integer of at most 2147483647")

(deftest a-wrong-option-of-a-request-is-named-with-its-value-and-what-is-allowed
  (are [opts class message]
       (= [class message] (thrown #(client/request (merge {:url "http://127.0.0.1:1/"} opts) nil)))
    {:url nil}              NullPointerException     ":url nil: expected a String such as \"http://host:port/path\""
    {:url (URI. "http://u:secret@h/")}
    ClassCastException      ":url of class java.net.URI: expected a String such as \"http://host:port/path\""
    {:url :home}            ClassCastException       ":url :home: expected a String such as \"http://host:port/path\""
    {:method "get"}         ClassCastException       ":method \"get\": expected the keyword of a known method, such as :get or :purge, or nil"
    {:method :psot}         RuntimeException         ":method :psot: expected the keyword of a known method, such as :get or :purge, or nil"
    {:as :json}             IllegalArgumentException ":as :json: expected :auto, :text, :byte-array, :stream, :raw-byte-array or :none"
    {:as nil}               IllegalArgumentException ":as nil: expected :auto, :text, :byte-array, :stream, :raw-byte-array or :none"
    {:timeout "5"}          ClassCastException       (str ":timeout \"5\": expected " msecs ", or nil")
    {:timeout 3000000000}   ArithmeticException      (str ":timeout 3000000000: expected " msecs ", or nil")
    {:connect-timeout "5"}  ClassCastException       (str ":connect-timeout \"5\": expected " msecs)
    {:idle-timeout nil}     NullPointerException     (str ":idle-timeout nil: expected " msecs)
    {:deadline :soon}       ClassCastException       (str ":deadline :soon: expected " msecs ", or nil")
    {:deadline 0.5}         IllegalArgumentException (str ":deadline 0.5: expected " msecs ", or nil")
    {:pool-timeout 1/2}     IllegalArgumentException (str ":pool-timeout 1/2: expected " msecs ", or nil")
    {:max-response-bytes 0.5} IllegalArgumentException ":max-response-bytes 0.5: expected an integer from 0 to 9223372036854775807, or nil"
    {:max-response-bytes -1}  IllegalArgumentException ":max-response-bytes -1: expected an integer from 0 to 9223372036854775807, or nil"
    {:max-response-bytes "1"} ClassCastException       ":max-response-bytes \"1\": expected an integer from 0 to 9223372036854775807, or nil"
    {:pool-timeout [1]}     ClassCastException       (str ":pool-timeout of class clojure.lang.PersistentVector: expected " msecs ", or nil")
    {:keepalive true}       ClassCastException       (str ":keepalive true: expected " msecs)
    {:headers "Accept: x"}  ClassCastException       ":headers \"Accept: x\": expected a map from Strings to values, or nil"
    {:basic-auth :secret}   ClassCastException       ":basic-auth of class clojure.lang.Keyword: expected [user password] or \"user:password\", or nil"
    {:basic-auth {:u "p"}}  ClassCastException       ":basic-auth of class clojure.lang.PersistentArrayMap: expected [user password] or \"user:password\", or nil"
    {:query-params "a=b"}   IllegalArgumentException ":query-params \"a=b\": expected a map or a seq of pairs, or nil"
    {:form-params 5}        IllegalArgumentException ":form-params 5: expected a map or a seq of pairs, or nil"
    {:multipart "x"}        IllegalArgumentException ":multipart \"x\": expected a seq of maps {:name _ :content _}, or nil"
    {:filter 100}           ClassCastException       ":filter 100: expected an IFilter, such as max-body-filter makes, or nil"
    {:worker-pool 5}        ClassCastException       ":worker-pool 5: expected an ExecutorService, such as the :pool of new-worker's result, a delay of one, or nil"
    {:worker-pool (delay 5)}
    ClassCastException      ":worker-pool 5: expected an ExecutorService, such as the :pool of new-worker's result, a delay of one, or nil"
    {:client "c"}           ClassCastException       ":client \"c\": expected an HttpClient, see make-client, a delay of one, or nil"
    {:client (delay 5)}     ClassCastException       ":client 5: expected an HttpClient, see make-client, a delay of one, or nil"
    {:sslengine (SSLContext/getDefault)}
    ClassCastException      (str ":sslengine of class javax.net.ssl.SSLContext: expected an SSLEngine, see make-ssl-engine, or nil")
    {:response "r"}         ClassCastException       ":response \"r\": expected a promise, or nil"
    {:response {}}          ClassCastException       ":response of class clojure.lang.PersistentArrayMap: expected a promise, or nil"
    {:response [1]}         ClassCastException       ":response of class clojure.lang.PersistentVector: expected a promise, or nil"
    {:response :promise}    ClassCastException       ":response :promise: expected a promise, or nil"
    {:response 'promise}    ClassCastException       ":response promise: expected a promise, or nil"
    {:headers [1]}          ClassCastException       ":headers of class clojure.lang.PersistentVector: expected a map from Strings to values, or nil"
    {:headers [1] :user-agent "x"}
    ClassCastException      ":headers of class clojure.lang.PersistentVector: expected a map from Strings to values, or nil"
    {:headers (list {"A" "b"}) :oauth-token "x"}
    ClassCastException      ":headers of class clojure.lang.PersistentList: expected a map from Strings to values, or nil"
    {:query-params [:a 1]}  IllegalArgumentException "parameter :a: expected a map or a seq of pairs, such as [[:name value]]"
    {:query-params {:a {1 "secret"}}}
    ClassCastException      "parameter name 1: expected a String, Keyword or Symbol"
    {:max-redirects "3"}    ClassCastException       ":max-redirects \"3\": expected an integer, or nil"
    {:proxy-tunnel? true}   IllegalArgumentException ":proxy-tunnel? true has no effect without :proxy-url"
    {:proxy-url (URI. "http://p/")}
    ClassCastException      ":proxy-url of class java.net.URI: expected a String such as \"http://host:port\", or nil")
  (is (= [NullPointerException ":url nil: expected a String such as \"http://host:port/path\""]
         (thrown #(client/request {} nil)))))

(deftest a-wrong-default-client-is-named
  (doseq [wrong [5 (delay 5)]]
    (binding [client/*default-client* wrong]
      (is (= [ClassCastException "*default-client* 5: expected an HttpClient, see make-client, a delay of one, or nil"]
             (thrown #(client/get "http://127.0.0.1:1/")))))))

(deftest a-wrong-part-is-named-without-its-content
  (are [part class message]
       (= [class message] (thrown #(client/post "http://127.0.0.1:1/" {:multipart [{:name "ok" :content "x"} part]})))
    {:name :a :content "secret"}
    ClassCastException       ":name :a of a part of :multipart: expected a String"
    {:name "a" :content "secret" :filename (File. "f")}
    ClassCastException       ":filename of class java.io.File of a part of :multipart: expected a String"
    {:name "a" :content "secret" :content-type :text/plain}
    ClassCastException       ":content-type :text/plain of a part of :multipart: expected a String"
    {:name "a" :content :secret}
    IllegalArgumentException "Unknown parameter type clojure.lang.Keyword of parameter a. Try to pass a string."
    {:content "secret"}
    IllegalArgumentException "Multipart name must not be null"
    ["a" "secret"]
    IllegalArgumentException "part of :multipart of class clojure.lang.PersistentVector: expected a map {:name _ :content _}"
    "secret"
    IllegalArgumentException "part of :multipart of class java.lang.String: expected a map {:name _ :content _}"
    nil
    IllegalArgumentException "part of :multipart nil: expected a map {:name _ :content _}")
  (is (= [ClassCastException "parameter name 5: expected a String, Keyword or Symbol"]
         (thrown #(client/post "http://127.0.0.1:1/" {:multipart [] :form-params {5 "secret"}})))))

(deftest a-wrong-option-of-make-client-is-named
  (are [opts class message] (= [class message] (thrown #(client/make-client opts)))
    {:max-connections "5"}         ClassCastException       ":max-connections \"5\": expected an integer, or nil"
    {:max-connections-per-host 0.5} IllegalArgumentException ":max-connections-per-host 0.5: expected an integer, or nil"
    {:max-connections-per-host :a} ClassCastException       ":max-connections-per-host :a: expected an integer, or nil"
    {:channel-factory 5}           IllegalArgumentException ":channel-factory 5: expected a function of a SocketAddress"
    {:ssl-configurer 5}            IllegalArgumentException ":ssl-configurer 5: expected a function of SSLEngine and URI, or nil"
    {:ssl-configurer {:hostname-verification? true}}
    IllegalArgumentException ":ssl-configurer of class clojure.lang.PersistentArrayMap: expected a function of SSLEngine and URI, or nil"
    {:error-logger "log"}          IllegalArgumentException ":error-logger \"log\": expected a function of message and throwable"
    {:event-logger 5}              IllegalArgumentException ":event-logger 5: expected a function of the event's name"
    {:event-names "x"}             IllegalArgumentException ":event-names \"x\": expected a map with String keys, or EventNames, or nil"
    {:event-names {:clientImpossible "x"}} IllegalArgumentException ":event-names has the key :clientImpossible: expected a map with String keys, or EventNames, or nil"
    {:bind-address "127.0.0.1"}    ClassCastException       ":bind-address \"127.0.0.1\": expected a SocketAddress, or nil"
    5                              IllegalArgumentException "options 5 of make-client: expected a map")
  (testing "an address finder, when it is used"
    (let [c (client/make-client {:address-finder 5})
          e (:error @(client/get "http://a.test/" {:client c}))]
      (is (= [ClassCastException ":address-finder 5: expected a function of a URI, or nil"] [(class e) (ex-message e)]))
      (client/client-stop! c))))

(deftest what-a-function-of-make-client-returns-is-named-if-it-is-wrong
  (are [opts class message]
       (let [c (client/make-client opts)
             e (:error (deref (client/get "http://127.0.0.1:1/" {:client c}) 30000 nil))]
         (client/client-stop! c)
         (= [class message] [(clojure.core/class e) (ex-message e)]))
    {:address-finder (fn [_] nil)}          NullPointerException ":address-finder returned nil: expected a SocketAddress"
    {:address-finder (fn [_] "h:80")}       ClassCastException   ":address-finder returned \"h:80\": expected a SocketAddress"
    {:address-finder  (fn [_] nil)
     :channel-factory (fn [_] :not-called)} NullPointerException ":address-finder returned nil: expected a SocketAddress"
    {:channel-factory (fn [_] nil)}         NullPointerException ":channel-factory returned nil: expected a SocketChannel"
    {:channel-factory (fn [_] (Object.))}   ClassCastException   ":channel-factory returned of class java.lang.Object: expected a SocketChannel"))

(deftest wrong-options-of-a-worker-pool-are-named
  (is (= [IllegalArgumentException ":n-threads 0: expected an integer from 1 to 2147483647, or nil"]
         (thrown #(client/new-worker {:n-threads 0 :allow-virtual? false}))))
  (doseq [[opts shown] {5 "5", [1] "of class clojure.lang.PersistentVector"}
          [f about]    {client/new-worker "new-worker", #(utils/new-worker {} %) "new-worker"}]
    (is (= [IllegalArgumentException (str "options " shown " of " about ": expected a map")]
           (thrown #(f opts))))))

(deftest options-that-were-always-allowed-still-are
  (peer/with-peer [p ok]
    (let [^ExecutorService pool (Executors/newSingleThreadExecutor)]
      (doseq [opts [nil {} {:method nil} {:timeout nil} {:timeout false} {:timeout 5000.7} {:timeout 5000 :connect-timeout nil :idle-timeout nil}
                    {:deadline nil} {:deadline false} {:max-response-bytes false} {:proxy-tunnel? true :proxy-url nil} {:proxy-tunnel? false} {:pool-timeout false} {:max-response-bytes nil} {:max-response-bytes 1e9} {:keepalive -1} {:headers nil} {:headers (HashMap. {"a" "b"})}
                    {:query-params nil} {:query-params [[:a 1]]} {:query-params false} {:form-params {}} {:multipart []} {:basic-auth nil}
                    {:basic-auth ["u"]} {:oauth-token :t} {:user-agent 5} {:filter nil} {:worker-pool nil} {:worker-pool pool}
                    {:worker-pool (delay pool)} {:worker-pool (delay nil)} {:client nil} {:client (delay nil)} {:client client/legacy-client}
                    {:response nil} {:response false} {:response (promise)}
                    {:user-agent "x" :headers []} {:user-agent "x" :headers [["A" "b"]]} {:oauth-token "x" :headers (seq {"A" "b"})} {:sslengine nil} {:sslengine false} {:max-redirects nil} {:max-redirects 1e3} {:trace-redirects nil}
                    {:proxy-url nil} {:proxy-port 80} {:nested-param-style :none-such} {:tunnel? nil} {"string" "key"} {:my/option 1}]]
        (is (= "ok" (:body @(client/get (:url p) opts))) (pr-str opts)))
      (.shutdown pool))))

(deftest every-option-of-the-docstring-is-in-its-table-and-none-else
  (let [named (fn [v] (set (map keyword (:keys (first (first (:arglists (meta v))))))))]
    (is (= (named #'client/request) (set (keys client-options/request))))
    (is (= (named #'client/make-client) (set (keys client-options/client))))))

;; What is new

(deftest credentials-are-any-sequence-of-two
  (peer/with-peer [p ok]
    (doseq [pair [["u" "p"] (list "u" "p") (map identity ["u" "p"]) (ArrayList. ["u" "p"]) (into-array ["u" "p"])
                  (object-array ["u" "p"]) "u:p"]]
      (is (= 200 (:status @(client/get (:url p) {:basic-auth pair}))))
      (is (= "Basic dTpw" (peer/header (last @(:requests p)) "authorization")) (pr-str (class pair))))))

(deftest registered-methods-are-sent
  (peer/with-peer [p ok]
    (doseq [method [:purge :search :query :mkcalendar :version-control]]
      (is (= "ok" (:body @(client/request {:url (:url p) :method method :body "b"} nil))))
      (let [{:keys [line body]} (last @(:requests p))]
        (is (= (str (.toUpperCase (name method) java.util.Locale/ROOT) " / HTTP/1.1") line))
        (is (= "b" body))))
    (testing "and told with a callback's fault"
      (is (str/includes? (stderr-of #(deref (client/request {:url (:url p) :method :purge} (fn [_] (throw (Exception. "no"))))))
                         "PURGE")))))

(deftest what-a-callback-throws-goes-to-the-error-logger
  (let [logged (atom [])
        c      (client/make-client {:error-logger (fn [message e] (swap! logged conj [message e]))})
        boom   (IllegalStateException. "boom")]
    (peer/with-peer [p ok]
      (is (= "" (stderr-of #(is (identical? boom (:error @(client/get (:url p) {:client c} (fn [_] (throw boom)))))))))
      (is (= [[(str "GET " (:url p) "'s callback") boom]] @logged)))
    (client/client-stop! c))
  (testing "and a logger that throws, even the same, keeps nothing from its end"
    (let [c    (client/make-client {:error-logger (fn [_ e] (throw e))})
          boom (IllegalStateException. "boom")]
      (is (str/includes? (stderr-of #(is (identical? boom (:error (deref (client/get "http://127.0.0.1:1/" {:client c} (fn [_] (throw boom)))
                                                                         10000 nil)))))
                         "a logger of this client failed"))
      (client/client-stop! c))))

;; Names

(defn- warnings [f]
  (map #(second (re-find #"WARN - (.*)" %)) (str/split-lines (stderr-of f))))

(deftest a-name-of-a-request-that-is-nearly-an-options-is-one-warning
  (let [get (fn [opts] (is (= ConnectException (class (:error @(client/get "http://127.0.0.1:1/" opts))))))]
    (is (= [":timeuot is no option of request; did you mean :timeout?"]
           (warnings #(dotimes [_ 3] (get {:timeuot 5})))))
    (is (= [":follow-redirect is no option of request; did you mean :follow-redirects?"]
           (warnings #(get {:follow-redirect false}))))
    (is (= [":keep-alive is no option of request; did you mean :keepalive?"]
           (warnings #(get {:keep-alive 5}))))
    (testing "all others are their owner's"
      (is (= "" (stderr-of #(get {:uri "/" :id 5 :is 1 :my/timeuots 5 "tiemout" 5 'timeot 1 :scheme :http :params {} :remote-addr "x"
                                  :request-method :get :server-port 80 :cookies {} :route-params {} :content-type "x" :opts 1 :retry 3})))))
    (testing "values are not printed"
      (is (= [":oauth-tokne is no option of request; did you mean :oauth-token?"]
             (warnings #(get {:oauth-tokne "secret"})))))))

(deftest a-wrong-time-that-timeout-replaces-is-one-warning
  (let [get (fn [opts] (is (= ConnectException (class (:error @(client/get "http://127.0.0.1:1/" opts))))))]
    (is (= [(str ":connect-timeout \"x\": expected " msecs "; :timeout replaces it")
            (str ":idle-timeout 3000000000: expected " msecs "; :timeout replaces it")]
           (warnings #(dotimes [_ 3] (get {:timeout 500 :connect-timeout "x" :idle-timeout 3000000000})))))
    (is (= "" (stderr-of #(get {:timeout 500 :connect-timeout nil :idle-timeout 5}))))))

(deftest unknown-names-of-make-client-and-new-worker-are-warned-of-once
  (let [make #(client/client-stop! (client/make-client {:max-conections 5 :frobnicate 1}))]
    (is (= #{":max-conections is no option of make-client; did you mean :max-connections?"
             ":frobnicate is no option of make-client"}
           (set (warnings make))))
    (is (= "" (stderr-of make))))
  (let [make #(client/client-stop! (client/make-client {:event-names {"clientImposible" "x", "serverStatus404" "y"}}))]
    (is (= ["\"clientImposible\" is no option of :event-names; did you mean \"clientImpossible\"?"] (warnings make)))
    (is (= "" (stderr-of make))))
  (let [make #(.shutdown ^ExecutorService (:pool (client/new-worker {:n-thread 2})))]
    (is (= [":n-thread is no option of new-worker; did you mean :n-threads?"] (warnings make)))
    (is (= "" (stderr-of make)))))
